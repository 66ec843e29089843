//! What is committed is what the generator writes; and every message in every version does what
//! its schema says, held against a second, plain reading of the schemas ([`oracle`]).

mod golden;
mod messages;
mod oracle;
mod table;

#[test]
fn generated_files_are_current() {
    if let Err(error) = crate::generate::run(true) {
        panic!("{error}");
    }
}
