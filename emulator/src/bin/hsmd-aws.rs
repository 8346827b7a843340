//! The AWS front end of hsmd. All of it is in the library.

fn main() -> std::process::ExitCode {
    hsmd_aws::main()
}
