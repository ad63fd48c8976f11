//! Which topics a text has.

use proptest::prelude::*;
use trend_hashtags::{Found, TOPICS_MAX, find};

fn topics(text: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    find(text, &mut Found::new(), &mut |name: &[u8]| {
        names.push(name.to_vec());
        true
    });
    names
}

fn check(text: &str, expected: &str) {
    let names: Vec<String> = topics(text.as_bytes())
        .into_iter()
        .map(|name| String::from_utf8(name).expect("names are UTF-8"))
        .collect();
    assert_eq!(names.join(" "), expected, "{text}");
}

#[test]
fn tags_are_hashtags_and_mentions() {
    check("RT @NASA: the #MarsRover lands!", "@nasa #marsrover");
    check("#Eclipse2015 #eclipse2015 #ECLIPSE2015", "#eclipse2015");
    check("(#one) [#two] \"#three\", #four_4.", "#one #two #three #four_4");
    check(
        "#été #ЖИЗНЬ #Straße #ΟΔΌΣ #日本 #한국 #ภาษาไทย",
        "#été #жизнь #straße #οδόσ #日本 #한국 #ภาษาไทย",
    );
    check("我爱#北京#天安门 #上海#", "#北京 #上海");
}

#[test]
fn tags_keep_words_out() {
    check("Breaking news from Berlin #berlin", "#berlin");
}

#[test]
fn numbers_links_addresses_and_entities_hold_no_tags() {
    check("#1 #2015 # @ #_ ## @@", "");
    check("a@example.org https://example.org/#part &#39; {{#if:}} C#", "");
    check("mail bob@example.org please", "mail please");
}

#[test]
fn words_are_significant() {
    check(
        "The president of Mexico has announced a new budget",
        "president mexico announced budget",
    );
    check("Der Präsident hat einen neuen Haushalt für Schulen", "präsident neuen haushalt schulen");
    check("El presidente y la ministra de salud", "presidente ministra salud");
    check("Le président de la République française", "président république française");
    check("ÉTÉ DANS LES ALPES", "été alpes");
    check("ab cd 12 1234 123456789 a1b2", "a1b2");
    check("don't l'eau rock'n'roll", "eau rock roll");
    check("Президент объявил Новый бюджет", "президент объявил новый бюджет");
    check("대통령 예산 안", "대통령 예산");
}

#[test]
fn scripts_without_spaces_give_runs_and_pairs() {
    check("東京", "東京");
    check("北京天安门广场", "北京 京天 天安 安门 门广 广场");
    check("トランプ大統領が発表しました", "トランプ 大統領 発表");
    check("ภาษาไทย", "");
}

#[test]
fn links_and_markup_are_skipped() {
    check("see https://en.wikipedia.org/wiki/Mars_rover now", "");
    check("look: www.example.org/path and Mars", "look mars");
    check("[[User:Alice|Alice]] edited [[Mars rover]]", "alice edited mars rover");
    check("{{cite web|title=Eclipse}}", "web title eclipse");
    check("<ref name=\"x\">solar</ref> &nbsp; wind", "solar wind");
    check("a < b and c &c rest", "rest");
}

#[test]
fn a_text_has_eight_topics_at_most() {
    check("aaa bbb ccc ddd eee fff ggg hhh iii", "aaa bbb ccc ddd eee fff ggg hhh");
    check("#a #b #c #d #e #f #g #h #i", "#a #b #c #d #e #f #g #h");
}

#[test]
fn a_word_that_is_too_long_for_a_name_is_none() {
    let longest = "a".repeat(255);
    check(&longest, &longest);
    check(&"a".repeat(256), "");
    check(&format!("#{} ok", "a".repeat(255)), &"a".repeat(255));
}

#[test]
fn nothing_is_added_when_there_is_no_room() {
    let mut asked = 0;
    find(b"one two three four", &mut Found::new(), &mut |_: &[u8]| {
        asked += 1;
        false
    });
    assert_eq!(asked, 1);
}

/// Every name is new, valid and folded, and there are not too many.
fn hold(text: &[u8]) {
    let names = topics(text);
    assert!(names.len() <= TOPICS_MAX);
    for (place, name) in names.iter().enumerate() {
        assert!((1..=255).contains(&name.len()));
        assert!(!names[..place].contains(name), "{name:?} twice");
        let again = topics(name);
        assert!(again.is_empty() || again.len() > 1 || again[0] == *name, "{name:?} is not folded");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_has_valid_topics(text in "\\PC{0,200}") {
        hold(text.as_bytes());
        for name in topics(text.as_bytes()) {
            let name = String::from_utf8(name).expect("names are UTF-8");
            prop_assert!(!name.chars().any(char::is_control));
        }
    }

    #[test]
    fn tags_of_any_letters_are_found(word in "[a-zA-Zа-яА-Яäöüß一-龥]{2,20}") {
        let text = format!("so #{word}, yes");
        prop_assert_eq!(topics(text.as_bytes()).len(), 1);
    }

    #[test]
    fn any_bytes_end_well(text in proptest::collection::vec(any::<u8>(), 0..4_096)) {
        hold(&text);
    }
}
