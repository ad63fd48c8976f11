//! Many windows over little memory: the cap holds, nothing leaks, neighbours do not disturb.

mod window_support;

use proptest::prelude::*;
use trendsrv_shard::{Block, Grid, HeapMemory, View, WindowConfig, WindowError, Windows};
use window_support::{Model, Names, config, events, weights};

const START: u64 = 1_000_000;

#[derive(Clone, Debug)]
enum Turn {
    Open,
    Close(usize),
    Add(usize, Vec<(u64, u64, u32)>),
    Advance(usize, u64),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let event = (0_u64..3, 0_u64..90, weights());
    let turn = prop_oneof![
        2 => Just(Turn::Open),
        1 => any::<usize>().prop_map(Turn::Close),
        6 => (any::<usize>(), prop::collection::vec(event, 1..60))
            .prop_map(|(window, batch)| Turn::Add(window, batch)),
        2 => (any::<usize>(), 0_u64..20).prop_map(|(window, by)| Turn::Advance(window, by)),
    ];
    prop::collection::vec(turn, 1..120)
}

struct Live {
    block: Block,
    model: Model,
    names: Names,
    lossless: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn windows_share_a_cap_without_disturbing_each_other(turns in turns(), chunks in 1_usize..6) {
        let grid = Grid::new(12_000, 1_000).unwrap();
        let config = config(grid, 2);
        let words = usize::try_from(config.chunk_bytes() / 8).unwrap() * chunks;
        let mut windows = Windows::new(&config, HeapMemory::new(words)).unwrap();
        let mut live: Vec<Live> = Vec::new();
        let mut view = View::new();
        for turn in turns {
            match turn {
                Turn::Open => if let Some(block) = windows.open(1, START) {
                    let (model, names) = (Model::new(&grid, START), Names::default());
                    live.push(Live { block, model, names, lossless: true });
                },
                Turn::Close(at) if !live.is_empty() => {
                    let mut one = live.swap_remove(at % live.len());
                    windows.close(one.block, &mut one.names);
                    prop_assert!(one.names.0.is_empty());
                }
                Turn::Add(at, batch) if !live.is_empty() => {
                    let at = at % live.len();
                    let one = &mut live[at];
                    let now = one.model.current;
                    let batch: Vec<_> = batch.iter().map(|e| (now - e.0, e.1, e.2)).collect();
                    let added = windows.add(&mut one.block, events(&grid, &batch), &mut one.names);
                    prop_assert_eq!(added.applied + added.dropped + added.late, batch.len() as u64);
                    one.lossless &= added.dropped == 0;
                    batch.iter().for_each(|e| { one.model.add(e.0, e.1, e.2); });
                }
                Turn::Advance(at, by) if !live.is_empty() => {
                    let at = at % live.len();
                    let one = &mut live[at];
                    one.model.current += by;
                    windows.advance(&mut one.block, grid.place(one.model.current), &mut one.names);
                }
                Turn::Close(_) | Turn::Add(..) | Turn::Advance(..) => {}
            }
            let memory = windows.memory_use();
            prop_assert!(memory.used_bytes <= memory.capacity_bytes);
            prop_assert!(memory.capacity_bytes <= words as u64 * 8);
            for one in live.iter().filter(|one| one.lossless) {
                windows.view(one.block, one.model.current, &mut view);
                let totals = one.model.totals(one.model.current);
                prop_assert_eq!(view.total(), totals.values().sum::<u64>());
                for topic in view.topics() {
                    let weight = totals[&topic.topic.0];
                    prop_assert!(topic.low <= weight && weight <= topic.high);
                }
            }
        }
        for mut one in live {
            windows.close(one.block, &mut one.names);
            prop_assert!(one.names.0.is_empty());
        }
        prop_assert_eq!(windows.memory_use().used_bytes, 0);
    }
}

#[test]
fn a_weight_that_finds_no_wider_block_is_dropped_and_counted() {
    let grid = Grid::new(60_000, 1_000).unwrap();
    let config = WindowConfig { tiers_max: 1, ..config(grid, 1) };
    let words = usize::try_from(config.chunk_bytes() / 8).unwrap();
    let mut windows = Windows::new(&config, HeapMemory::new(words)).unwrap();
    let mut names = Names::default();
    let mut block = windows.open(0, START).unwrap();
    let added = windows.add(
        &mut block,
        events(&grid, &[(START, 1, 65_535), (START, 1, 1), (START, 2, 70_000), (START, 2, 5)]),
        &mut names,
    );
    assert_eq!((added.applied, added.dropped), (2, 2));
    assert_eq!((windows.total(block), windows.events(block)), (65_540, 2));
    windows.close(block, &mut names);
    assert!(names.0.is_empty());
}

#[test]
fn growth_leaves_every_promised_tenant_its_block() {
    let grid = Grid::new(60_000, 1_000).unwrap();
    let config = WindowConfig { tenants_max: 100, ..config(grid, 3) };
    let words = usize::try_from(config.memory_bytes(200_000) / 8).unwrap();
    let mut windows = Windows::new(&config, HeapMemory::new(words)).unwrap();
    let mut names = Names::default();
    let mut blocks = vec![windows.open(0, START).unwrap()];
    // The first tenants take all the memory there is to grow into.
    for _ in 1..20 {
        let batch: Vec<_> = (0..240).map(|topic| (START, topic, 1)).collect();
        windows.add(blocks.last_mut().unwrap(), events(&grid, &batch), &mut names);
        blocks.push(windows.open(0, START).unwrap());
    }
    while blocks.len() < 100 {
        blocks.push(windows.open(0, START).expect("a promised tenant found no block"));
    }
    let memory = windows.memory_use();
    assert!(memory.used_bytes <= memory.capacity_bytes);
    for block in blocks {
        windows.close(block, &mut names);
    }
    assert_eq!(windows.memory_use().used_bytes, 0);
}

#[test]
fn refuses_memory_that_cannot_hold_its_tenants() {
    let grid = Grid::new(60_000, 1_000).unwrap();
    let config = WindowConfig { tenants_max: 100_000, ..config(grid, 7) };
    let needed = config.memory_bytes(0);
    assert!(needed >= 100_000 * config.base_block_bytes());
    assert!(needed < 100_000 * config.base_block_bytes() + 3 * config.chunk_bytes());
    let small = Windows::new(&config, HeapMemory::new(1_000)).unwrap_err();
    assert_eq!(small, WindowError::MemoryTooSmall { bytes: 8_000, needed });
    let tiers = WindowConfig { tiers_max: 8, ..config };
    let error = Windows::new(&tiers, HeapMemory::new(1_000)).unwrap_err();
    assert_eq!(error, WindowError::Tiers { tiers_max: 8 });
}
