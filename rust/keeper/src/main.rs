//! The keeper's binary; all of it is in the library.

use std::process::ExitCode;

use ardock_keeper::config::Config;

fn main() -> ExitCode {
    let result = Config::parse(std::env::args_os().skip(1))
        .map_err(|error| error.to_string())
        .and_then(|config| ardock_keeper::boot::run(config).map_err(|error| error.to_string()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ardock-keeper: {error}");
            ExitCode::FAILURE
        }
    }
}
