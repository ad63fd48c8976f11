//! Requests that bring records and texts: both count under one mark, or neither does.
//!
//! ```text
//! on_mixed -> marks -> tenants of records and texts (admit all, or refuse) -> records -> texts
//! ```

use crate::admit::Owned;
use crate::effect::{Counted, Effects, Refused};
use crate::limits::TEXT_TOPICS_MAX;
use crate::memory::Memory;
use crate::programs::Programs;
use crate::shard::{Origin, Part, Shard, TextPart};
use trendsrv_proto::{Span, TenantId};

impl<P: Programs, M: Memory> Shard<P, M> {
    /// Applies or refuses records and texts together; the effects say which, and count both.
    pub fn on_mixed(
        &mut self,
        now_ms: u64,
        from: &Origin,
        part: &Part<'_>,
        texts: &TextPart<'_>,
        fx: &mut Effects,
    ) {
        let Some(due) = self.due(from, fx) else { return };
        let (mut records, mut kept) = (Vec::new(), Vec::new());
        let (part, before) = self.sift(&due, part, &mut records);
        let (texts, texts_before) = self.sift_texts(&due, texts, &mut kept);
        let counted = self
            .check_log(from, &part, &texts)
            .and_then(|()| self.count_mixed(now_ms, &part, &texts));
        match counted {
            Ok(counted) => {
                let counted = Counted { duplicate: before + texts_before, ..counted };
                self.append(now_ms, from, &part, &texts);
                self.accept(now_ms, from, counted, fx);
            }
            Err(why) => self.refuse(from, why, fx),
        }
    }

    /// Counts records and texts, or neither.
    pub(crate) fn count_mixed(
        &mut self,
        now_ms: u64,
        part: &Part<'_>,
        texts: &TextPart<'_>,
    ) -> Result<Counted, Refused> {
        self.admit_both(now_ms, part, texts)?;
        let early = self.count_early(now_ms, part);
        self.stand(now_ms, part.records, part.span);
        let records = self.apply_part(now_ms, part, early);
        let early = self.count_early_texts(now_ms, texts);
        self.stand(now_ms, texts.texts, texts.span);
        Ok(records.plus(self.apply_texts(now_ms, texts, early)))
    }

    /// Admits the tenants of both, or of neither.
    fn admit_both(
        &mut self,
        now_ms: u64,
        part: &Part<'_>,
        texts: &TextPart<'_>,
    ) -> Result<(), Refused> {
        let early = self.count_early(now_ms, part);
        let waiting = self.early_most(early, part.records.len())
            + self.count_early_texts(now_ms, texts) * TEXT_TOPICS_MAX;
        let owners = part.records.iter().map(Owned::owner);
        let owners: Vec<TenantId> = owners.chain(texts.texts.iter().map(Owned::owner)).collect();
        let span = Span {
            min_ms: part.span.min_ms.min(texts.span.min_ms),
            max_ms: part.span.max_ms.max(texts.span.max_ms),
        };
        self.admit_all(now_ms, &owners, span, waiting)
    }

    /// Says where admitted tenants stand: `runs` is about these items now.
    fn stand<T: Owned>(&mut self, now_ms: u64, items: &[T], span: Span) {
        let found = self.admit_all(now_ms, items, span, 0);
        assert!(found.is_ok(), "tenants admitted a moment ago are there");
    }
}

impl Owned for TenantId {
    fn owner(&self) -> TenantId {
        *self
    }
}

impl Counted {
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            applied: self.applied + other.applied,
            early: self.early + other.early,
            late: self.late + other.late,
            dropped: self.dropped + other.dropped,
            filtered: self.filtered + other.filtered,
            duplicate: self.duplicate + other.duplicate,
        }
    }
}
