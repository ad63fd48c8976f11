//! Replays the corpus of the fuzz target `frame` (tests/fuzz): what a fuzzer once found, or a
//! vector shows, is held by a plain test.

mod mirror;

#[test]
fn every_input_of_the_corpus_is_read_without_panic() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus/frame");
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder).expect("tests/fuzz/corpus/frame is there") {
        let path = entry.expect("a readable folder").path();
        let bytes = std::fs::read(&path).expect("a readable file");
        println!("{} ({} bytes)", path.display(), bytes.len());
        mirror::check_bytes(&bytes);
        inputs += 1;
    }
    assert!(inputs > 100, "{inputs} inputs");
}
