//! `histories [COUNT [FIRST [THREADS]]]`: so many random histories, judged by the model and by the engine. Exit 3 if they disagree, 1 if
//! the histories drawn say too little.

#![allow(clippy::print_stdout, reason = "it is a program")]

use std::num::NonZero;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread::available_parallelism;
use std::time::Instant;

use frith_tests::survey;

/// The argument at that place, if it is there.
fn argument<T: FromStr>(place: usize, usual: T) -> Result<T, String> {
    match std::env::args().nth(place) {
        Some(text) => text.parse().map_err(|_| format!("{text:?} is not a number")),
        None => Ok(usual),
    }
}

fn numbers() -> Result<(u64, u64, usize), String> {
    let cores = available_parallelism().map_or(1, NonZero::get);
    Ok((argument(1, 100_000)?, argument(2, 0)?, argument(3, cores)?))
}

fn main() -> ExitCode {
    let (count, first, threads) = match numbers() {
        Ok(numbers) => numbers,
        Err(why) => {
            eprintln!("{why}. Usage: histories [COUNT [FIRST [THREADS]]]");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    let survey = match survey::many(first, count, threads) {
        Ok(survey) => survey,
        Err(disagreement) => {
            println!("{disagreement}");
            return ExitCode::from(3);
        }
    };
    println!("{survey}, in {:.1} s on {threads} threads", begun.elapsed().as_secs_f32());
    let lacks = survey.lacks();
    lacks.iter().for_each(|what| println!("{what}"));
    if lacks.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
