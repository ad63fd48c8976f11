//! The tenants of one shard: who they are, where their windows lie, what was counted beside them.
//!
//! Owns the index from id to window (touched per event) and one cold record per tenant (touched
//! when something happens to the tenant). Never touches a window's inside, a clock, or a socket.
//!
//! ```text
//! index entry, two words:   | tenant id u64 | slot+1 u24 | class u8 | line u32 |
//!                                             0: empty     0xff: no window
//! ```
//!
//! Invariants
//! - linear probing over a power of two at no more than half load, so a search ends;
//! - an id is mixed with the secret of the process before it picks a bucket;
//! - a removal moves entries: places found before are void then;
//! - a tenant without a window in the index is in the list of the emptied, longest empty first;
//! - every tenant is in the list of its vnode.

use crate::memory::Memory;
use crate::window::Block;
use std::collections::BTreeMap;
use std::ops::Bound;
use trendsrv_proto::limits::VNODES;
use trendsrv_proto::{TenantId, fmix64};

/// A tenant's number within its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// A place in the index, good until a tenant is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

/// Consecutive records of one tenant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Where the tenant stands in the index.
    pub(crate) place: Place,
    /// Index of the first record; the next run's is the end.
    pub(crate) start: u32,
}

/// What is kept of a tenant beside its window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) name: Option<Box<str>>,
    pub(crate) version: u64,
    pub(crate) fingerprint: u64,
    pub(crate) late: u64,
    pub(crate) dropped: u64,
    pub(crate) shed: u64,
    /// Event clock: the window of an emptied tenant, kept until room is needed.
    pub(crate) parked: Option<Block>,
    live: bool,
    emptied: bool,
    next: u32,
    previous: u32,
    vnode_next: u32,
    vnode_previous: u32,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Tenants<M> {
    index: M,
    mask: usize,
    secret: u64,
    records: Vec<Tenant>,
    /// The index's second word of the tenant in each slot, 0 for none: in the order of slots, and
    /// nothing else of the tenants between.
    words: Vec<u64>,
    free: Vec<u32>,
    names: BTreeMap<Box<str>, Slot>,
    oldest_emptied: u32,
    newest_emptied: u32,
    /// The tenant of each vnode that was admitted last.
    newest_of_vnode: Box<[u32]>,
    count: usize,
    emptied: usize,
    tenants_max: usize,
}

/// Words of index that `tenants_max` tenants need.
#[must_use]
pub fn index_words(tenants_max: usize) -> usize {
    (tenants_max.max(8) * 2).next_power_of_two() * 2
}

/// Bytes of the cold record of one tenant, its name apart.
pub const TENANT_RECORD_BYTES: usize = size_of::<Tenant>() + size_of::<u64>();

impl<M: Memory> Tenants<M> {
    pub(crate) fn new(tenants_max: usize, secret: u64, index: M) -> Self {
        let words = index_words(tenants_max);
        assert!(index.words().len() >= words, "index of {} words", index.words().len());
        assert!(tenants_max <= SLOTS_MAX, "{tenants_max} tenants in one shard");
        Self {
            index,
            mask: words / 2 - 1,
            secret,
            records: Vec::with_capacity(tenants_max),
            words: Vec::with_capacity(tenants_max),
            free: Vec::new(),
            names: BTreeMap::new(),
            oldest_emptied: NONE,
            newest_emptied: NONE,
            newest_of_vnode: vec![NONE; VNODES].into_boxed_slice(),
            count: 0,
            emptied: 0,
            tenants_max,
        }
    }

    #[inline]
    fn bucket(&self, id: TenantId) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "masked to the table's size")]
        let mixed = fmix64(id.0 ^ self.secret) as usize;
        mixed & self.mask
    }

    /// Asks for the index line of a tenant ahead of [`Self::find`].
    #[inline]
    pub(crate) fn prefetch(&self, id: TenantId) {
        self.index.prefetch(self.bucket(id) * 2);
    }

    /// Where a tenant stands.
    #[inline]
    pub(crate) fn find(&self, id: TenantId) -> Option<Place> {
        let words = self.index.words();
        let mut at = self.bucket(id);
        loop {
            let entry = &words[at * 2..at * 2 + 2];
            if entry[1] == 0 {
                return None;
            }
            if entry[0] == id.0 {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "an index has < 2^32 entries"
                )]
                return Some(Place(at as u32));
            }
            at = (at + 1) & self.mask;
        }
    }

    /// The slot and window at a place.
    #[inline]
    pub(crate) fn at(&self, place: Place) -> (Slot, Option<Block>) {
        unpack(self.index.words()[place.0 as usize * 2 + 1])
    }

    /// Says where a tenant's window lies now.
    #[inline]
    pub(crate) fn set_block(&mut self, place: Place, block: Option<Block>) {
        let word = &mut self.index.words_mut()[place.0 as usize * 2 + 1];
        let (slot, _) = unpack(*word);
        *word = pack(slot, block);
        self.words[slot.0 as usize] = *word;
    }

    /// The window of the tenant in a slot; `None` as well when the slot is free.
    #[inline]
    pub(crate) fn block_of(&self, slot: Slot) -> Option<Block> {
        self.words.get(slot.0 as usize).filter(|&&word| word != 0).and_then(|&word| unpack(word).1)
    }

    /// Tenants that may be admitted before anyone has to leave.
    pub(crate) const fn free(&self) -> usize {
        self.tenants_max - self.count
    }

    /// Tenants that may be admitted if every emptied one leaves.
    pub(crate) const fn room(&self) -> usize {
        self.free() + self.emptied
    }

    /// Forgets the longest-empty tenant and returns its slot, version and parked window.
    /// `None`: every tenant has a live window.
    pub(crate) fn evict(&mut self) -> Option<(Slot, u64, Option<Block>)> {
        let slot = match self.oldest_emptied {
            NONE => return None,
            slot => slot,
        };
        let Tenant { version, parked, .. } = self.records[slot as usize];
        self.remove(slot);
        Some((Slot(slot), version, parked))
    }

    /// Forgets a tenant that has no window.
    pub(crate) fn forget(&mut self, id: TenantId) {
        if let Some(place) = self.find(id) {
            let (slot, _) = self.at(place);
            self.remove(slot.0);
        }
    }

    /// Puts a tenant, when it is emptied, behind all others that are.
    pub(crate) fn spare(&mut self, id: TenantId) {
        if let Some(place) = self.find(id)
            && self.is_emptied(place)
        {
            let (slot, _) = self.at(place);
            self.unlink(slot.0);
            self.mark_emptied(slot);
        }
    }

    /// Whether the tenant at a place has no window.
    pub(crate) fn is_emptied(&self, place: Place) -> bool {
        self.records[self.at(place).0.0 as usize].emptied
    }

    /// Admits a tenant that is not there yet. It is emptied until its window opens.
    ///
    /// # Panics
    /// When the table is full: the caller evicts first.
    pub(crate) fn admit(&mut self, id: TenantId) -> Place {
        assert!(self.free() > 0, "no room for another tenant");
        let slot = self.free.pop().unwrap_or_else(|| {
            self.records.push(Tenant::default());
            self.words.push(0);
            u32::try_from(self.records.len() - 1).unwrap_or(NONE)
        });
        self.records[slot as usize] = Tenant { id, live: true, ..Tenant::default() };
        self.count += 1;
        self.mark_emptied(Slot(slot));
        self.enter_vnode(slot, id.vnode());
        let mut at = self.bucket(id);
        while self.index.words()[at * 2 + 1] != 0 {
            at = (at + 1) & self.mask;
        }
        let words = self.index.words_mut();
        words[at * 2] = id.0;
        words[at * 2 + 1] = pack(Slot(slot), None);
        self.words[slot as usize] = words[at * 2 + 1];
        #[expect(clippy::cast_possible_truncation, reason = "an index has < 2^32 entries")]
        Place(at as u32)
    }

    /// Gives a tenant the name it was told.
    pub(crate) fn set_name(&mut self, slot: Slot, name: &str) {
        if self.records[slot.0 as usize].name.is_none() {
            self.records[slot.0 as usize].name = Some(name.into());
            self.names.insert(name.into(), slot);
        }
    }

    /// Named tenants in byte order, from the first name not below `from`.
    pub(crate) fn names_from<'a>(
        &'a self,
        from: (Bound<&str>, Bound<&str>),
    ) -> impl Iterator<Item = (&'a str, Slot)> + use<'a, M> {
        self.names.range::<str, _>(from).map(|(name, slot)| (name.as_ref(), *slot))
    }

    /// The tenants of a vnode, those admitted last first.
    pub(crate) fn of_vnode(&self, vnode: usize) -> impl Iterator<Item = Slot> {
        let slot = |slot: u32| (slot != NONE).then_some(slot);
        let next = move |at: &u32| slot(self.records[*at as usize].vnode_next);
        std::iter::successors(slot(self.newest_of_vnode[vnode]), next).map(Slot)
    }

    fn enter_vnode(&mut self, slot: u32, vnode: usize) {
        let before = std::mem::replace(&mut self.newest_of_vnode[vnode], slot);
        let tenant = &mut self.records[slot as usize];
        (tenant.vnode_next, tenant.vnode_previous) = (before, NONE);
        if before != NONE {
            self.records[before as usize].vnode_previous = slot;
        }
    }

    fn leave_vnode(&mut self, slot: u32) {
        let Tenant { id, vnode_next: next, vnode_previous: previous, .. } =
            self.records[slot as usize];
        match previous {
            NONE => self.newest_of_vnode[id.vnode()] = next,
            before => self.records[before as usize].vnode_next = next,
        }
        if next != NONE {
            self.records[next as usize].vnode_previous = previous;
        }
    }

    fn remove(&mut self, slot: u32) {
        self.unlink(slot);
        self.leave_vnode(slot);
        let id = self.records[slot as usize].id;
        if let Some(name) = &self.records[slot as usize].name {
            self.names.remove(name);
        }
        if let Some(place) = self.find(id) {
            self.close_gap(place.0 as usize);
        }
        self.records[slot as usize] = Tenant::default();
        self.words[slot as usize] = 0;
        self.free.push(slot);
        self.count -= 1;
    }

    /// Backward-shift deletion (Knuth, TAOCP 3, 6.4 algorithm R): no tombstones.
    fn close_gap(&mut self, mut gap: usize) {
        let mut at = gap;
        loop {
            at = (at + 1) & self.mask;
            let (id, word) = {
                let words = self.index.words();
                (words[at * 2], words[at * 2 + 1])
            };
            if word == 0 {
                break;
            }
            let home = self.bucket(TenantId(id));
            let reach = at.wrapping_sub(home) & self.mask;
            if reach >= (at.wrapping_sub(gap) & self.mask) {
                let words = self.index.words_mut();
                words[gap * 2] = id;
                words[gap * 2 + 1] = word;
                gap = at;
            }
        }
        let words = self.index.words_mut();
        words[gap * 2] = 0;
        words[gap * 2 + 1] = 0;
    }

    /// The tenant has no window any more: it waits among the emptied.
    pub(crate) fn mark_emptied(&mut self, slot: Slot) {
        let tenant = &mut self.records[slot.0 as usize];
        if tenant.emptied {
            return;
        }
        (tenant.emptied, tenant.next, tenant.previous) = (true, NONE, self.newest_emptied);
        match self.newest_emptied {
            NONE => self.oldest_emptied = slot.0,
            newest => self.records[newest as usize].next = slot.0,
        }
        self.newest_emptied = slot.0;
        self.emptied += 1;
    }

    /// The tenant has a window again.
    pub(crate) fn mark_live(&mut self, slot: Slot) {
        self.unlink(slot.0);
    }

    fn unlink(&mut self, slot: u32) {
        let tenant = &mut self.records[slot as usize];
        if !tenant.emptied {
            return;
        }
        tenant.emptied = false;
        let (next, previous) = (tenant.next, tenant.previous);
        match previous {
            NONE => self.oldest_emptied = next,
            before => self.records[before as usize].next = next,
        }
        match next {
            NONE => self.newest_emptied = previous,
            after => self.records[after as usize].previous = previous,
        }
        self.emptied -= 1;
    }

    pub(crate) fn record(&self, slot: Slot) -> &Tenant {
        &self.records[slot.0 as usize]
    }

    pub(crate) fn record_mut(&mut self, slot: Slot) -> &mut Tenant {
        &mut self.records[slot.0 as usize]
    }

    /// All slots ever used; some may be free.
    pub(crate) fn slots(&self) -> u32 {
        u32::try_from(self.records.len()).unwrap_or(NONE)
    }

    /// The tenant in a slot, unless it is free.
    pub(crate) fn id_at(&self, slot: Slot) -> Option<TenantId> {
        self.records.get(slot.0 as usize).filter(|tenant| tenant.live).map(|tenant| tenant.id)
    }

    /// Tenants, and those of them without a window.
    pub(crate) const fn counts(&self) -> (usize, usize) {
        (self.count, self.emptied)
    }
}

#[inline]
fn pack(slot: Slot, block: Option<Block>) -> u64 {
    let (class, offset) = block.map_or((CLASS_NONE, 0), |block| (block.class, block.line));
    (u64::from(slot.0) + 1) << 40 | u64::from(class) << 32 | u64::from(offset)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "each part is cut to its own width")]
const fn unpack(word: u64) -> (Slot, Option<Block>) {
    let slot = Slot((word >> 40) as u32 - 1);
    match (word >> 32) as u8 {
        CLASS_NONE => (slot, None),
        class => (slot, Some(Block { line: word as u32, class })),
    }
}

const NONE: u32 = u32::MAX;
const CLASS_NONE: u8 = u8::MAX;
/// Slots fit 24 bits, with one value kept for "empty".
const SLOTS_MAX: usize = (1 << 24) - 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::HeapMemory;

    fn table(tenants_max: usize) -> Tenants<HeapMemory> {
        Tenants::new(tenants_max, 7, HeapMemory::new(index_words(tenants_max)))
    }

    fn admit(tenants: &mut Tenants<HeapMemory>, id: TenantId) -> Option<Slot> {
        if tenants.free() == 0 {
            tenants.evict()?;
        }
        let place = tenants.admit(id);
        let (slot, _) = tenants.at(place);
        tenants.mark_live(slot);
        Some(slot)
    }

    #[test]
    fn finds_what_was_admitted_through_many_removals() {
        let mut tenants = table(64);
        for round in 0_u64..200 {
            for i in 0..64 {
                let id = TenantId(fmix64(round * 37 + i));
                if tenants.find(id).is_some() {
                    continue;
                }
                let slot = admit(&mut tenants, id).unwrap();
                assert_eq!(tenants.record(slot).id, id);
                tenants.set_name(slot, &format!("{id:?}"));
                tenants.mark_emptied(slot);
            }
            let live = (0..tenants.slots()).filter_map(|slot| tenants.id_at(Slot(slot)));
            for id in live.collect::<Vec<_>>() {
                let place = tenants.find(id).expect("a live tenant is found");
                assert_eq!(tenants.record(tenants.at(place).0).id, id);
            }
        }
        assert_eq!(tenants.counts().0, 64);
        let of_vnodes: usize = (0..VNODES)
            .map(|vnode| {
                let ids = tenants.of_vnode(vnode).map(|slot| tenants.id_at(slot).unwrap());
                ids.inspect(|id| assert_eq!(id.vnode(), vnode)).count()
            })
            .sum();
        assert_eq!(of_vnodes, 64, "each in the list of its vnode");
        assert_eq!(tenants.names_from((Bound::Unbounded, Bound::Unbounded)).count(), 64);
    }

    #[test]
    fn longest_empty_makes_room_and_live_ones_never_do() {
        let mut tenants = table(8);
        let slots: Vec<_> = (1..=8).map(|id| admit(&mut tenants, TenantId(id)).unwrap()).collect();
        assert_eq!(tenants.evict(), None, "eight live tenants fill the table");
        tenants.mark_emptied(slots[3]);
        tenants.mark_emptied(slots[1]);
        assert!(admit(&mut tenants, TenantId(99)).is_some());
        assert!(tenants.find(TenantId(4)).is_none(), "the longest-empty left");
        assert!(tenants.find(TenantId(2)).is_some());
        tenants.mark_live(slots[1]);
        assert_eq!(tenants.counts(), (8, 0));
    }

    #[test]
    fn a_vnode_lists_its_tenants_and_no_others() {
        let mut tenants = table(64);
        let of_one = (0..).map(TenantId).filter(|id| id.vnode() == 7).take(8);
        let ids: Vec<_> = of_one.chain((0..8).map(TenantId).filter(|id| id.vnode() != 7)).collect();
        for &id in &ids {
            admit(&mut tenants, id);
        }
        let listed = |tenants: &Tenants<HeapMemory>| -> Vec<TenantId> {
            tenants.of_vnode(7).map(|slot| tenants.record(slot).id).collect()
        };
        let newest_first: Vec<_> = ids[..8].iter().rev().copied().collect();
        assert_eq!(listed(&tenants), newest_first);
        // The last, the first and one between them leave, and one comes back.
        for id in [ids[7], ids[0], ids[4]] {
            let (slot, _) = tenants.at(tenants.find(id).unwrap());
            tenants.mark_emptied(slot);
            tenants.forget(id);
        }
        admit(&mut tenants, ids[0]);
        assert_eq!(listed(&tenants), [ids[0], ids[6], ids[5], ids[3], ids[2], ids[1]]);
    }

    #[test]
    fn block_and_slot_survive_packing() {
        for block in [None, Some(Block { line: u32::MAX, class: 254 })] {
            assert_eq!(unpack(pack(Slot(1 << 23), block)), (Slot(1 << 23), block));
        }
    }
}
