//! Words that say nothing: English, German, French, Spanish, Portuguese, Italian, Dutch, and what
//! wikis and links are made of.
//!
//! ```text
//! key: the word's bytes, low byte first, each with bit 5 set (that folds ASCII and Latin-1)
//! 1,024 slots of 8 bytes, open addressing
//! ```
//!
//! Invariant: words are 3 to 8 bytes long, so a key is the word itself and no two words share one.

/// Whether a word of at most 8 bytes, its bytes low first, says nothing.
#[inline]
pub(crate) fn has(word: u64) -> bool {
    let key = small(word);
    let mut slot = first_slot(key);
    loop {
        let found = TABLE[slot % SLOTS];
        if found == key || found == 0 {
            return found == key;
        }
        slot += 1;
    }
}

const WORDS: &str = "\
the and for are was were you your yours our ours his her hers its this that these those with \
from not but all any can had has have having him how man new now old see two way who why did \
get got may use one out off over own same she they them their there then than some such too \
very what when where which while will would could should about after again also been being both \
down each few into just more most much must only other once here between before because through \
under until upon does doing don isn didn won ain per via yes let like make made many well \
\
der die das den dem des ein eine einen einem einer eines und oder aber nicht mit von vom zum zur \
bei auf aus nach vor für über unter ist sind war waren wird werden wurde wurden hat haben hatte \
sein seine seiner ihr ihre ich wir sie auch nur noch schon sehr wie was wer wenn dann als dass \
daß kann mehr man mich dich sich uns euch hier dort durch ohne gegen immer alle alles kein keine \
\
les des une est sont était dans par pour sur avec sans sous que qui quoi dont pas plus moins mais \
donc car elle elles ils nous vous leur leurs mon ton son mes tes ses notre votre cette ces cet \
ceux aux être avoir fait comme tout tous toute toutes aussi bien très entre peut après avant \
\
los las una unos unas del con por para sin sobre como más pero sus este esta estos estas ese esa \
eso esto ser son fue eran era está están hay muy también entre hasta desde cuando donde porque \
todo todos toda todas nos les cada otro otra \
\
uma uns umas dos das nos nas pelo pela com sem mas não mais seu sua seus suas isso isto esse essa \
ele ela eles elas foi são ser ter tem está como quando onde muito também até depois mesmo \
\
gli una uno del dello della dei degli delle dal dalla nel nella nei sul sulla con per tra fra che \
chi cui non più anche come dove quando perché sono era essere hanno questo questa questi quello \
suo sua suoi loro molto ancora tutto tutti \
\
het een van voor met aan bij uit naar over onder niet wel ook maar als dan dat die deze dit zijn \
haar hun ons onze hij zij was waren wordt worden werd heeft hebben had kan kunnen meer veel geen \
nog \
\
http https www com org net html php htm amp nbsp quot ref";

const SLOTS: usize = 1 << SLOT_BITS;

const SLOT_BITS: u32 = 10;

const TABLE: [u64; SLOTS] = {
    let words = WORDS.as_bytes();
    let mut table = [0_u64; SLOTS];
    let mut count = 0;
    let mut at = 0;
    while at < words.len() {
        let mut key = 0;
        let mut len = 0;
        while at < words.len() && words[at] != b' ' {
            key |= (words[at] as u64) << (8 * len);
            len += 1;
            at += 1;
        }
        at += 1;
        assert!(len <= 8, "a word longer than its key");
        let mut slot = first_slot(small(key)) % SLOTS;
        while len > 0 && table[slot] != 0 && table[slot] != small(key) {
            slot = (slot + 1) % SLOTS;
        }
        if len > 0 && table[slot] == 0 {
            table[slot] = small(key);
            count += 1;
        }
    }
    assert!(count * 4 <= SLOTS * 3, "too many words for short searches");
    table
};

/// Sets bit 5 of every byte that is there.
pub(crate) const fn small(key: u64) -> u64 {
    let used = (key | ((key & !HIGH) + !HIGH)) & HIGH;
    key | used >> 2
}

const fn first_slot(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOT_BITS)) as usize
}

const HIGH: u64 = 0x8080_8080_8080_8080;
