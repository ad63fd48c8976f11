//! One hostile tenant among many honest ones: what it may cost itself, and that it costs nobody
//! else an answer.
//!
//! ```text
//! calm:     60 honest tenants + "hostile", which runs the default   -> every answer, as JSON
//! pressed:  the same events, "hostile" runs a hostile program       -> the same bytes, its fault
//! ```
//!
//! All share one shard, and with it the Stores that instances live in. How long the honest tenants
//! waited for answers is printed for both worlds, and not judged: machines differ.

use crate::harness::{DEADLINE, Http, Peer, Reply, Server, named_frame, text_frame};
use crate::wasm::{self, module};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const T: u64 = 1_442_016_000_000;
const HONEST: usize = 60;
const ROUNDS: u64 = 20;
const END: u64 = T + ROUNDS * 1_000;

/// Which stage of a program is hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Summarise,
    Observe,
    ObserveText,
}

const STAGES: [Stage; 3] = [Stage::Summarise, Stage::Observe, Stage::ObserveText];

/// A program of which one stage is hostile, and the words of its fault.
struct Hostile<'a> {
    stage: Stage,
    /// Has `$n` and leaves an i32.
    body: &'a str,
    /// More functions.
    more: &'a str,
    words: &'a str,
}

impl<'a> Hostile<'a> {
    /// The same in every stage.
    fn everywhere(body: &'a str, more: &'a str, words: &'a str) -> [Self; 3] {
        STAGES.map(|stage| Self { stage, body, more, words })
    }

    /// The program. Whatever its hostile stage, it has nothing to say to a reader: the default's
    /// answer is due also when a retry comes between fault and reader.
    fn module(&self) -> Vec<u8> {
        let Self { body, more, .. } = self;
        let stage = match self.stage {
            Stage::Summarise => return module(body, more),
            Stage::Observe => "observe",
            Stage::ObserveText => "observe_text",
        };
        let stage = format!(r#"(func (export "{stage}") (param $n i32) (result i32) {body})"#);
        module(TRAP_FOR_READERS, &format!("{stage} {more}"))
    }
}

/// Flag 2 of a view: a reader asks.
const TRAP_FOR_READERS: &str = "(if (i32.and (i32.load (i32.const 1064)) (i32.const 2))
    (then unreachable)) i32.const 0";

#[test]
fn an_endless_loop_costs_nobody_else_an_answer() {
    let endless = "(loop (br 0)) i32.const 0";
    honest_answers_stay(&Hostile::everywhere(endless, "", "all fuel consumed"));
}

#[test]
fn a_memory_grow_bomb_costs_nobody_else_an_answer() {
    let bomb = "(loop (drop (memory.grow (i32.const 65535))) (br 0)) i32.const 0";
    honest_answers_stay(&Hostile::everywhere(bomb, "", "all fuel consumed"));
}

#[test]
fn a_stack_overflow_costs_nobody_else_an_answer() {
    let deep = "(func $deep (param i32) (result i32)
      (i32.add (call $deep (local.get 0)) (call $deep (local.get 0))))";
    let call = "(call $deep (local.get $n))";
    honest_answers_stay(&Hostile::everywhere(call, deep, "call stack exhausted"));
}

#[test]
fn an_access_outside_its_memory_costs_nobody_else_an_answer() {
    let outside = "(i32.load (i32.const 65533))";
    honest_answers_stay(&Hostile::everywhere(outside, "", "out of bounds memory access"));
}

#[test]
fn a_trap_in_every_call_costs_nobody_else_an_answer() {
    honest_answers_stay(&Hostile::everywhere("unreachable", "", "unreachable"));
}

#[test]
fn enormous_output_costs_nobody_else_an_answer() {
    let summarise = "(i32.store (i32.add (i32.const 1024) (i32.load (i32.const 1068)))
                                (i32.const 0xffffffff))
                     i32.const 0";
    let observe = "(i32.add (local.get $n) (i32.const 1000000))";
    let (more, stages) = ("", [summarise, observe, "i32.const 0x7fffffff"]);
    let words = ["longer than 512 bytes", "observe returned", "observe_text returned"];
    let case = |n: usize| Hostile { stage: STAGES[n], body: stages[n], more, words: words[n] };
    honest_answers_stay(&[0, 1, 2].map(case));
}

#[test]
fn output_that_is_not_utf_8_costs_nobody_else_an_answer() {
    // A TL;DR of eight bytes, and a topic's name of one, that no text has.
    let summarise = "(local $out i32)
        (local.set $out (i32.add (i32.const 1024) (i32.load (i32.const 1068))))
        (i32.store (local.get $out) (i32.const 0x0008ffff))
        (i64.store offset=4 align=1 (local.get $out) (i64.const -1))
        i32.const 0";
    let observe_text = "(local $out i32)
        (local.set $out (i32.add (i32.const 1024) (i32.load (i32.const 1036))))
        (i64.store (local.get $out) (i64.const 0x0000000100010000))
        (i32.store8 offset=8 (local.get $out) (i32.const 0xff))
        i32.const 1";
    let case = |stage, body, words| Hostile { stage, body, more: "", words };
    honest_answers_stay(&[
        case(Stage::Summarise, summarise, "the TL;DR is not UTF-8"),
        case(Stage::ObserveText, observe_text, "observe_text, topic 0: name is not UTF-8"),
    ]);
}

#[test]
fn output_that_points_outside_costs_nobody_else_an_answer() {
    // Rows that there are not; records that there are not; names that run past the buffer.
    let summarise = "(i32.store (i32.add (i32.const 1024) (i32.load (i32.const 1068)))
                                (i32.const 0x7ffe))
                     i32.const 0";
    let observe_text = "(local $at i32)
        (local.set $at (i32.add (i32.const 1024) (i32.load (i32.const 1036))))
        (memory.fill (local.get $at) (i32.const 97)
                     (i32.sub (i32.const 9216) (local.get $at)))
        (loop $next
          (i64.store (local.get $at) (i64.const 0x0000000100ff0000))
          (local.set $at (i32.add (local.get $at) (i32.const 264)))
          (br_if $next (i32.lt_u (local.get $at) (i32.const 9208))))
        i32.const 32";
    let case = |stage, body, words| Hostile { stage, body, more: "", words };
    honest_answers_stay(&[
        case(Stage::Summarise, summarise, "summarise returned 32766"),
        case(Stage::Observe, "i32.const -1", "observe returned 4294967295"),
        case(Stage::ObserveText, observe_text, "reaches past the buffer"),
    ]);
}

/// The memory of a program beside its buffer, looked through and then spoiled.
const SPY: &str = "(local $at i32) (local $seen i64) (local $out i32)
    (local.set $at (i32.const 9216))
    (loop $next
      (local.set $seen (i64.or (local.get $seen) (i64.load (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 65536))))
    (local.set $at (i32.const 9216))
    (loop $next
      (i64.store (local.get $at) (i64.const 0x7365637265742121))
      (local.set $at (i32.add (local.get $at) (i32.const 1024)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 65536))))
    (local.set $out (i32.add (i32.const 1024) (i32.load (i32.const 1068))))
    (i32.store (local.get $out) (i32.const 0x0008ffff))
    (if (i64.eqz (local.get $seen))
      (then (i64.store offset=4 align=1 (local.get $out) (i64.const CLEAN)))
      (else (i64.store offset=4 align=1 (local.get $out) (i64.const SPOILED))))
    i32.const 0";

#[test]
fn nobody_reads_what_the_previous_owner_of_the_slot_left_behind() {
    let number = |words: &[u8; 8]| i64::from_le_bytes(*words).to_string();
    let spy = SPY.replace("CLEAN", &number(b"nothing!"));
    let spy = wasm::with_body(&spy.replace("SPOILED", &number(b"secrets!")));
    let server = Server::start(&["--clock", "event", "--shards", "1", "--tenants-max", "1"]);
    let http = server.http();
    assert_eq!(put(http, "spy", &spy).status, 201);
    let mut peer = Peer::greeted(server.tcp);
    for (seq, tenant) in (1..).zip(["first", "second", "third"]) {
        assert_eq!(assign(http, tenant, "spy").status, 200);
        // Ten minutes later the window of the one before is empty, and its slot is taken over.
        peer.send(&named_frame(seq, &[(tenant, "a", 1, T + seq * 600_000)]));
        peer.acked(seq);
        let told = || http.get(&format!("/v1/tenants/{tenant}/trending")).body["tldr"].clone();
        assert_eq!(told(), "nothing!", "{tenant}");
        // It would have seen something: its own words are there.
        assert_eq!(told(), "secrets!", "{tenant}");
    }
    assert_eq!(http.get("/v1/tenants/first/trending").status, 404, "it has left");
    let shard = &http.get("/v1/shards").body["shards"][0];
    assert_eq!(shard["levels"]["programs_live"]["now"], 1, "{shard:#}");
    drop(peer);
    server.stop();
}

#[test]
fn modules_that_must_not_be_are_refused_with_a_sentence_and_cost_nothing_else() {
    let deep = |depth: usize| {
        let (open, close) = ("block ".repeat(depth), "end ".repeat(depth));
        module(wasm::SUMMARISE_NOTHING, &format!("(func {open} {close})"))
    };
    let with = |more: &str| module(wasm::SUMMARISE_NOTHING, more);
    let outside = wasm::text(wasm::SUMMARISE_NOTHING, "").replace("i32.const 8192", "i32.const -8");
    let nested = deep(349_000);
    assert!((1 << 20) - 5_000 < nested.len() && nested.len() <= 1 << 20, "{}", nested.len());
    let cases = [
        ("start function", with("(func $s) (start $s)"), "it has a start function"),
        ("huge table", with("(table 4000000000 funcref)"), "elements of the table; at most"),
        ("tables", with("(table 1 funcref) (table 1 funcref)"), "2 tables; at most"),
        ("import", wasm::wat("(module (import \"a\" \"b\" (func)))"), "it imports \"a\" \"b\""),
        ("1 MiB of nested blocks", nested, "the function at byte"),
        ("nested blocks", deep(1_000), "nests blocks deeper than"),
        ("buffer outside", wasm::wat(&outside), "cap() says"),
    ];
    let world = World::new(None);
    let http = world.server.http();
    let (before, resident) = (world.answers(), world.server.resident_bytes());
    for (case, wasm, words) in cases {
        let reply = put(http, "mine", &wasm);
        let message = reply.body["message"].as_str().unwrap_or_default();
        assert_eq!((reply.status, &reply.body["code"]), (422, &json!("PROGRAM_FAILED")), "{case}");
        assert!(message.starts_with("program mine: ") && message.contains(words), "{message}");
        println!("{case}: {message}");
    }
    assert_eq!(http.get("/v1/programs/mine").status, 404);
    assert_eq!(world.answers(), before);
    let more = world.server.resident_bytes().saturating_sub(resident);
    assert!(more < MEMORY_MORE_MAX, "{more} bytes more");
    world.end();
}

#[test]
fn a_module_that_compiles_slowly_is_refused_while_others_are_answered() {
    let mut world = World::new(None);
    let http = world.server.http();
    let before = world.answers();
    let calm = world.ask_around(200);
    let upload = std::thread::Builder::new()
        .spawn(move || put(http, "slow", &wasm::slow_to_compile()))
        .unwrap();
    let mut pressed = Vec::new();
    while !upload.is_finished() {
        pressed.append(&mut world.ask_around(200));
    }
    print_beside(&calm, &pressed);
    let reply = upload.join().unwrap();
    let message = reply.body["message"].as_str().unwrap_or_default();
    match reply.status {
        422 => assert!(message.contains("compiling took more than 10 s of CPU"), "{message}"),
        // It got too little CPU beside others' work to use up its share in time.
        503 => assert!(message.contains("the machine is busy"), "{message}"),
        other => panic!("{other}: {message}"),
    }
    assert_eq!(http.get("/v1/programs/slow").status, 404);
    assert_eq!(world.answers(), before);
    assert!(world.server.children().is_empty(), "its process has ended");
    world.end();
}

/// Compares the calm world with one for each hostile program: the honest answers are the same
/// bytes, the hostile tenant has a fault with these words and the default's answer.
fn honest_answers_stay(programs: &[Hostile<'_>]) {
    let (calm, calm_waits) = World::lived(None);
    for hostile in programs {
        let (pressed, pressed_waits) = World::lived(Some(hostile));
        println!("hostile: {:?}", hostile.stage);
        print_beside(&calm_waits, &pressed_waits);
        let path = format!("/v1/tenants/{HOSTILE}/program");
        let status = pressed.server.http().get(&path).body;
        let message = status["last_error"].as_str().unwrap();
        assert!(status["faults"].as_u64() > Some(0), "{status:#}");
        assert!(message.contains(hostile.words), "{message}");
        println!("fault: {message}");

        assert_eq!(calm.answers(), pressed.answers(), "the honest tenants' answers");
        same_but_for_the_fault(&calm, &pressed);
        let held = |world: &World| world.server.resident_bytes();
        let more = held(&pressed).saturating_sub(held(&calm));
        assert!(more < MEMORY_MORE_MAX, "{more} bytes more than the calm world");
        pressed.end();
    }
    calm.end();
}

/// The hostile tenant gets what the default would have told it, and why.
fn same_but_for_the_fault(calm: &World, pressed: &World) {
    let mut fine = trending(calm.server.http(), HOSTILE).body;
    let mut failed = trending(pressed.server.http(), HOSTILE).body;
    let fault = failed["program_fault"].take();
    assert_eq!(fine["program_fault"].take(), Value::Null);
    assert_eq!(fault["code"], "PROGRAM_FAILED", "{failed:#}");
    assert!(fault["faults"].as_u64() > Some(0), "{fault:#}");
    for answer in [&mut fine, &mut failed] {
        // How often the program changed under its readers is its own affair.
        answer["version"].take();
        assert_eq!(answer["program"], "trending");
        assert!(answer["tldr"].as_str().unwrap().contains("topics"), "{answer:#}");
    }
    assert_eq!(fine, failed, "the default's answer");
}

/// A server with its tenants.
struct World {
    server: Server,
    peer: Peer,
    seq: u64,
}

impl World {
    /// A world in which every tenant has its first events and its program.
    fn new(hostile: Option<&Hostile<'_>>) -> Self {
        let server = Server::start(&["--clock", "event", "--shards", "1"]);
        let http = server.http();
        if let Some(hostile) = hostile {
            let reply = put(http, "hostile", &hostile.module());
            assert_eq!(reply.status, 201, "{reply:?}");
            assert_eq!(assign(http, HOSTILE, "hostile").status, 200);
        }
        let peer = Peer::greeted(server.tcp);
        let mut world = Self { server, peer, seq: 0 };
        world.round(0);
        let until = Instant::now() + DEADLINE;
        while !world.all_have_programs() {
            assert!(Instant::now() < until, "programs do not come to life");
        }
        world
    }

    /// A world after all its rounds, and how long its honest tenants waited for answers.
    fn lived(hostile: Option<&Hostile<'_>>) -> (Self, Vec<Duration>) {
        let mut world = Self::new(hostile);
        let read = hostile.is_some_and(|hostile| hostile.stage == Stage::Summarise);
        let mut waits = Vec::new();
        for round in 1..=ROUNDS {
            world.round(round);
            if read {
                world.peer.query(HOSTILE, None).unwrap();
            }
            waits.append(&mut world.ask_around(20));
        }
        (world, waits)
    }

    /// Events of every tenant at one second, and some texts.
    fn round(&mut self, round: u64) {
        let ts_ms = T + round * 1_000;
        let names: Vec<String> = (0..HONEST).map(honest).collect();
        // The hostile tenant sits amid the others.
        let (first, last) = names.split_at(HONEST / 2);
        let all = || {
            first.iter().map(String::as_str).chain([HOSTILE]).chain(last.iter().map(String::as_str))
        };
        let topics = ["mars", "venus", "the moon", "io", "titan", "eclipse"];
        let mut events = Vec::new();
        for (index, tenant) in (0_u64..).zip(all()) {
            for step in 0..4_u64 {
                let topic = topics[usize::try_from((index + round * step) % 6).unwrap()];
                let weight = u32::try_from(1 + (index * 7 + round + step) % 5).unwrap();
                events.push((tenant, topic, weight, ts_ms - step));
            }
        }
        let texts: Vec<_> = all()
            .step_by(3)
            .map(|tenant| (tenant, "a #rover landed on #mars today", 1, ts_ms))
            .collect();
        for frame in [named_frame(self.seq + 1, &events), text_frame(self.seq + 2, &texts)] {
            self.peer.send(&frame);
            self.seq += 1;
            self.peer.acked(self.seq);
        }
    }

    /// How long the honest tenants wait for so many answers, one at a time.
    fn ask_around(&mut self, queries: usize) -> Vec<Duration> {
        let ask = |index: usize| {
            let tenant = honest(index % HONEST);
            let asked = Instant::now();
            self.peer.query(&tenant, None).unwrap();
            asked.elapsed()
        };
        (0..queries).map(ask).collect()
    }

    fn all_have_programs(&self) -> bool {
        let shard = &self.server.http().get("/v1/shards").body["shards"][0];
        let now = |level: &str| shard["levels"][level]["now"].as_u64().unwrap();
        let seated = now("programs_live") + now("programs_failed");
        now("programs_pending") == 0 && seated > HONEST as u64
    }

    /// Every honest tenant's answer at the end, as the bytes that came, but for its version: that
    /// counts from when the server began, and what readers were told.
    fn answers(&self) -> Vec<String> {
        let answer = |tenant: String| {
            let reply = trending(self.server.http(), &tenant);
            assert_eq!(reply.status, 200, "{reply:?}");
            let (before, rest) = reply.text.split_once("\"version\":").unwrap();
            let (_, after) = rest.split_once(',').unwrap();
            format!("{before}{after}")
        };
        (0..HONEST).map(honest).map(answer).collect()
    }

    fn end(self) {
        drop(self.peer);
        self.server.stop();
    }
}

const HOSTILE: &str = "hostile";

/// What a server may hold more because of a hostile tenant: far below one that grows.
const MEMORY_MORE_MAX: u64 = 64 << 20;

fn honest(index: usize) -> String {
    format!("honest-{index:02}")
}

fn put(http: Http, name: &str, wasm: &[u8]) -> Reply {
    http.request("PUT", &format!("/v1/programs/{name}"), &[], wasm)
}

fn assign(http: Http, tenant: &str, program: &str) -> Reply {
    let body = json!({ "program": program }).to_string();
    http.request("PUT", &format!("/v1/tenants/{tenant}/program"), &[], body.as_bytes())
}

fn trending(http: Http, tenant: &str) -> Reply {
    http.get(&format!("/v1/tenants/{tenant}/trending?at={END}"))
}

/// The honest tenants' waits in both worlds.
fn print_beside(calm: &[Duration], pressed: &[Duration]) {
    let sorted = |waits: &[Duration]| {
        let mut waits = waits.to_vec();
        waits.sort_unstable();
        waits
    };
    let (calm, pressed) = (sorted(calm), sorted(pressed));
    println!("{:>8} {:>12} {:>12}", "query", "calm us", "pressed us");
    for (name, per_mille) in [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)] {
        let at = |waits: &[Duration]| waits[(waits.len() - 1) * per_mille / 1_000].as_micros();
        println!("{name:>8} {:>12} {:>12}", at(&calm), at(&pressed));
    }
    let most = |waits: &[Duration]| waits.last().map_or(0, Duration::as_micros);
    println!("{:>8} {:>12} {:>12}", "max", most(&calm), most(&pressed));
    println!("{:>8} {:>12} {:>12}", "count", calm.len(), pressed.len());
}
