//! What is a duplicate, a gap, fenced off or unknown, live and after a recovery.

use super::recovery::OLD_MARKS_MAX;
use super::*;

const LANE: Lane = Lane { producer: 9, lane: 1, anonymous: false };

fn at(epoch: u32, seq: u64) -> Sequence {
    Sequence { lane: LANE, epoch, seq }
}

#[test]
fn a_part_is_applied_once() {
    let mut marks = Marks::new(4, 7);
    assert_eq!(marks.greet(LANE, 0), Ok(Standing::NEW));
    assert_eq!(marks.turn(&at(0, 1)), Turn::Apply);
    assert_eq!(marks.turn(&at(0, 1)), Turn::Apply, "asking changes nothing");
    marks.applied(&at(0, 1));
    assert_eq!(marks.turn(&at(0, 1)), Turn::Duplicate);
    assert_eq!(marks.turn(&at(0, 5)), Turn::Apply, "parts for other owners are not seen here");
}

#[test]
fn a_refused_part_holds_back_those_behind_it() {
    let mut marks = Marks::new(4, 7);
    marks.refused(&at(0, 3));
    assert_eq!(marks.turn(&at(0, 4)), Turn::Gap { expected: 3 });
    assert_eq!(marks.greet(LANE, 0), Ok(Standing { refused: Some((3, 4)), ..Standing::NEW }));
    assert_eq!(marks.turn(&at(0, 3)), Turn::Apply);
    marks.applied(&at(0, 3));
    let behind = Ok(Standing { next: 4, refused: Some((4, 4)), ..Standing::NEW });
    assert_eq!(marks.greet(LANE, 0), behind, "4 was turned away, too");
    assert_eq!(marks.turn(&at(0, 4)), Turn::Apply);
    marks.applied(&at(0, 4));
    assert_eq!(marks.greet(LANE, 0), Ok(Standing { next: 5, ..Standing::NEW }));
}

#[test]
fn a_frame_refused_by_one_owner_comes_again_whatever_others_applied() {
    let at = |next, first: Option<u64>| Standing {
        next,
        refused: first.map(|at| (at, at)),
        ..Standing::NEW
    };
    assert_eq!(at(5, None).and(at(9, None)).next_seq(), 9);
    assert_eq!(at(9, None).and(at(4, Some(4))).next_seq(), 4);
    assert_eq!(at(4, Some(7)).and(at(4, Some(5))).and(Standing::NEW).next_seq(), 4);
    assert_eq!(at(4, Some(5)).and(at(9, Some(7))).next_seq(), 5);
}

#[test]
fn a_newer_epoch_fences_the_older_and_starts_anew() {
    let mut marks = Marks::new(4, 7);
    marks.applied(&at(1, 7));
    assert_eq!(marks.turn(&at(2, 1)), Turn::Apply);
    assert_eq!(marks.turn(&at(1, 8)), Turn::Fenced { epoch: 2 });
    assert_eq!(marks.greet(LANE, 1), Err(2));
}

#[test]
fn a_full_table_gives_up_the_longest_unused() {
    let mut marks = Marks::new(8, 7);
    for producer in 0..9 {
        let lane = Lane { producer, ..LANE };
        marks.applied(&Sequence { lane, epoch: 0, seq: 5 });
    }
    assert!(marks.len() <= 8 && marks.evicted > 0);
    let mut next = |producer| marks.greet(Lane { producer, ..LANE }, 0).map(|at| at.next);
    assert_eq!(next(8), Ok(6), "the newest is kept");
    assert_eq!(next(0), Ok(1), "the oldest is unknown");
}

const OLD: OldOwner = OldOwner { shards: 2, shard: 1 };

fn row(next: u64, old: &[(OldOwner, u64)]) -> MarkRow {
    let old = old.iter().map(|&(owner, next)| OldMark { owner, next }).collect();
    MarkRow { producer: 9, lane: 1, epoch: 0, next, known: true, used: 1, old }
}

/// More lanes than the table holds.
fn crowd(marks: &mut Marks) {
    for producer in 100..120 {
        marks.applied(&Sequence { lane: Lane { producer, ..LANE }, epoch: 0, seq: 5 });
    }
}

fn tenant_of(owner: OldOwner) -> TenantId {
    (0..).map(TenantId).find(|tenant| owner.owned(*tenant)).unwrap()
}

#[test]
fn a_producer_whose_mark_was_given_up_is_told_so() {
    let mut marks = Marks::new(8, 7);
    marks.applied(&at(1, 7));
    crowd(&mut marks);
    assert_eq!(marks.turn(&at(1, 8)), Turn::Unknown, "applied before, or not?");
    assert_eq!(marks.turn(&at(1, 7)), Turn::Unknown);
    assert_eq!(marks.turn(&at(1, 8)), Turn::Unknown, "asking made no mark");
    let standing = marks.greet(LANE, 1).unwrap();
    assert_eq!((standing.next, standing.known), (1, false));
    assert!(!marks.greet(LANE, 1).unwrap().known, "nor does a hello make it known");
    assert!(marks.greet(LANE, 2).unwrap().known, "a new epoch has no past");
    assert_eq!(marks.turn(&at(2, 1)), Turn::Apply);
    marks.applied(&at(2, 1));
    assert!(marks.greet(LANE, 2).unwrap().known);
    let anonymous = Lane { anonymous: true, ..LANE };
    let at = Sequence { lane: anonymous, epoch: 0, seq: 3 };
    assert_eq!(marks.turn(&at), Turn::Apply, "its sequence began here");
}

#[test]
fn what_a_full_table_gave_up_is_known_only_by_what_came_since() {
    let mut marks = Marks::new(8, 7);
    marks.applied(&at(1, 2));
    crowd(&mut marks);
    assert!(!marks.greet(LANE, 1).unwrap().known);
    assert_eq!(marks.turn(&at(1, 3)), Turn::Apply, "its connection has heard");
    marks.applied(&at(1, 3));
    assert!(marks.greet(LANE, 1).unwrap().known);
}

#[test]
fn a_connection_whose_mark_was_given_up_is_unknown_and_others_are_not() {
    let lane = |producer| Lane { producer, lane: 0, anonymous: true };
    let at = |producer, seq| Sequence { lane: lane(producer), epoch: 1, seq };
    let mut marks = Marks::new(8, 7);
    marks.applied(&at(1, 2));
    crowd(&mut marks);
    assert_eq!(marks.turn(&at(1, 2)), Turn::Unknown, "it may have been counted");
    assert_eq!(marks.turn(&at(2, 5)), Turn::Apply, "its first frame with events for this owner");
}

#[test]
fn a_recovered_mark_says_so_until_something_is_applied() {
    let mut marks = Marks::new(4, 7);
    marks.restore(row(5, &[]), None);
    marks.replay(&at(0, 5), None);
    marks.replay(&at(0, 7), None);
    marks.end_recovery();
    let standing = Standing { next: 8, recovered: true, ..Standing::NEW };
    assert_eq!(marks.greet(LANE, 0), Ok(standing));
    assert_eq!(marks.turn(&at(0, 7)), Turn::Duplicate);
    assert_eq!(marks.turn(&at(0, 11)), Turn::Apply, "8 to 10 were applied and lost");
    marks.applied(&at(0, 11));
    assert_eq!(marks.greet(LANE, 0), Ok(Standing { next: 12, ..Standing::NEW }));
}

#[test]
fn a_mark_of_an_older_epoch_is_passed_over() {
    let mut marks = Marks::new(4, 7);
    marks.replay(&at(3, 5), None);
    marks.replay(&at(2, 9), None);
    assert_eq!(marks.greet(LANE, 3).map(|standing| standing.next), Ok(6));
    marks.replay(&at(4, 2), Some(OLD));
    assert_eq!(marks.greet(LANE, 4).map(|standing| standing.next), Ok(3));
    assert_eq!(marks.greet(LANE, 3), Err(4));
}

#[test]
fn marks_of_earlier_owners_sift_until_the_lane_has_passed_them() {
    let mut marks = Marks::new(4, 7);
    let (zero, one) = (OldOwner { shard: 0, ..OLD }, OLD);
    marks.restore(row(4, &[]), Some(zero));
    marks.restore(row(6, &[]), Some(one));
    marks.replay(&at(0, 6), Some(one));
    marks.end_recovery();
    let standing = marks.greet(LANE, 0).unwrap();
    assert_eq!((standing.next, standing.recovered), (7, true));
    let counted = |marks: &Marks, seq| {
        [zero, one].map(|owner| marks.counted_before(&at(0, seq), tenant_of(owner)))
    };
    assert_eq!(marks.turn(&at(0, 3)), Turn::Sift);
    assert_eq!(counted(&marks, 3), [true, true]);
    marks.applied(&at(0, 3));
    assert_eq!(marks.turn(&at(0, 3)), Turn::Duplicate, "of this owner by now");
    assert_eq!((marks.turn(&at(0, 5)), counted(&marks, 5)), (Turn::Sift, [false, true]));
    marks.applied(&at(0, 5));
    assert!(marks.greet(LANE, 0).unwrap().recovered, "6 may come again");
    marks.applied(&at(0, 6));
    assert_eq!((marks.turn(&at(0, 7)), counted(&marks, 7)), (Turn::Apply, [false; 2]));
    assert!(!marks.greet(LANE, 0).unwrap().recovered);
    assert!(marks.dump().all(|row| row.old.is_empty()), "nothing is left to ask");
}

#[test]
fn marks_survive_a_snapshot_with_those_of_earlier_owners() {
    let mut marks = Marks::new(4, 7);
    marks.restore(row(6, &[(OldOwner { shards: 3, shard: 2 }, 9)]), Some(OLD));
    marks.applied(&at(0, 6));
    let mut again = Marks::new(4, 8);
    again.restore_given_up(marks.evicted, marks.given_up().clone(), None);
    marks.dump().for_each(|row| again.restore(row, None));
    again.end_recovery();
    let rows = |marks: &Marks| marks.dump().map(|row| (row.next, row.old)).collect::<Vec<_>>();
    assert_eq!(rows(&again), rows(&marks));
    assert_eq!(rows(&again)[0].1.len(), 2);
    assert_eq!(again.turn(&at(0, 7)), Turn::Sift);
}

#[test]
fn a_lane_that_a_forgetful_owner_does_not_mention_is_unknown() {
    let (zero, one) = (OldOwner { shard: 0, ..OLD }, OLD);
    let mut forgetful = Marks::new(8, 7);
    forgetful.applied(&at(0, 3));
    crowd(&mut forgetful);
    let known = |given_up: &GivenUp, rows: &[OldOwner]| {
        let mut marks = Marks::new(4, 7);
        rows.iter().for_each(|owner| marks.restore(row(4, &[]), Some(*owner)));
        marks.restore_given_up(3, given_up.clone(), Some(zero));
        marks.end_recovery();
        marks.greet(LANE, 0).unwrap().known
    };
    let (none, some) = (GivenUp::default(), forgetful.given_up());
    assert!(known(&none, &[one]) && known(some, &[zero, one]));
    assert!(!known(some, &[one]), "it was given up there");
    assert!(!known(some, &[]), "nor does anyone else know it");
}

#[test]
fn a_lane_that_was_never_here_is_known_whoever_was_given_up() {
    let mut marks = Marks::new(8, 7);
    crowd(&mut marks);
    assert!(marks.evicted > 0);
    assert_eq!(marks.turn(&at(1, 3)), Turn::Apply);
    assert!(marks.greet(LANE, 1).unwrap().known);
    let mut again = Marks::new(8, 8);
    again.restore_given_up(marks.evicted, marks.given_up().clone(), None);
    again.end_recovery();
    let early = Lane { producer: 100, ..LANE };
    assert!(again.greet(LANE, 1).unwrap().known && !again.greet(early, 0).unwrap().known);
}

#[test]
fn a_mark_given_up_during_a_recovery_is_unknown_when_it_comes_back() {
    let mut marks = Marks::new(8, 7);
    marks.restore(row(4, &[]), Some(OLD));
    for producer in 100..120 {
        let lane = Lane { producer, ..LANE };
        marks.replay(&Sequence { lane, epoch: 0, seq: 5 }, None);
    }
    marks.replay(&at(0, 9), Some(OldOwner { shard: 0, ..OLD }));
    assert!(!marks.greet(LANE, 0).unwrap().known);
}

#[test]
fn a_mark_with_too_many_earlier_owners_is_given_up() {
    let mut marks = Marks::new(4, 7);
    let owner = |shard| OldOwner { shards: u16::MAX, shard };
    let last = u16::try_from(OLD_MARKS_MAX).unwrap();
    (0..=last).for_each(|shard| marks.replay(&at(0, 5), Some(owner(shard))));
    assert_eq!((marks.len(), marks.evicted), (0, 1));
    assert_eq!(marks.turn(&at(0, 6)), Turn::Unknown);
}

/// Every state of a mark, and what becomes of each kind of part in it.
#[test]
fn the_turns_of_parts() {
    let given_up = || {
        let mut marks = Marks::new(8, 7);
        marks.applied(&at(1, 4));
        crowd(&mut marks);
        marks
    };
    let greeted = || {
        let mut marks = given_up();
        marks.greet(LANE, 1).unwrap();
        marks
    };
    let with = |change: &dyn Fn(&mut Marks)| {
        let mut marks = Marks::new(8, 7);
        change(&mut marks);
        marks
    };
    let states: [(&str, &dyn Fn() -> Marks); 7] = [
        ("never here", &|| with(&|_| ())),
        ("applied 4", &|| with(&|marks| marks.applied(&at(1, 4)))),
        ("refused 6", &|| {
            with(&|marks| {
                marks.applied(&at(1, 4));
                marks.refused(&at(1, 6));
            })
        }),
        ("recovered 4", &|| with(&|marks| marks.replay(&at(1, 4), None))),
        ("old owner 6", &|| with(&|marks| marks.replay(&at(1, 6), Some(OLD)))),
        ("given up", &given_up),
        ("and greeted", &greeted),
    ];
    let mut table = String::new();
    for (name, marks) in states {
        table += &format!("{name:<12}");
        for at in [at(1, 1), at(1, 4), at(1, 6), at(1, 7), at(0, 9), at(2, 3)] {
            let turn = format!("{:?}", marks().turn(&at));
            table += &format!(" {:<10}", turn.split(' ').next().unwrap());
        }
        table = table.trim_end().to_owned() + "\n";
    }
    // Frames 1, 4, 6 and 7 of epoch 1, then one of an older and one of a newer epoch.
    let wanted = "\
never here   Apply      Apply      Apply      Apply      Apply      Apply
applied 4    Duplicate  Duplicate  Apply      Apply      Fenced     Apply
refused 6    Duplicate  Duplicate  Apply      Gap        Fenced     Apply
recovered 4  Duplicate  Duplicate  Apply      Apply      Fenced     Apply
old owner 6  Sift       Sift       Sift       Apply      Fenced     Apply
given up     Unknown    Unknown    Unknown    Unknown    Unknown    Unknown
and greeted  Apply      Apply      Apply      Apply      Fenced     Apply
";
    assert_eq!(table, wanted, "\n{table}");
}
