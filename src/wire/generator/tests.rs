//! What is committed is what the generator writes.

#[test]
fn generated_files_are_current() {
    if let Err(error) = super::run(true) {
        panic!("{error}");
    }
}
