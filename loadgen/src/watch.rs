//! Waits, beside the load of the warm-up, until every tenant has its window and its program.
//!
//! Owns one thread that asks the server over HTTP; the loop that makes the load only looks whether
//! it has said something.
//!
//! ```text
//! warm-up   | load … | watch: tenants 41,000 … 100,000, programs 100,000 -> Settled | measurement
//!                                                    or PROGRAMS_MS_MAX is over -> Late
//! ```

use crate::census::Census;
use crate::limits::WATCH_MS;
use crate::server::shards;
use anyhow::Context as _;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Tenants with a window.
    pub(crate) tenants: u64,
    /// Whether each is to have an instance of its program, too.
    pub(crate) with_programs: bool,
}

/// How the waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All there.
    Settled(Census),
    /// The time was over; this is what there was, as far as the server told.
    Late(Census),
}

/// A wait under way.
#[derive(Debug)]
pub(crate) struct Watch {
    said: Receiver<Outcome>,
}

impl Watch {
    /// Begins to wait, for so long.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn begin(http: &str, wanted: Wanted, time_max: Duration) -> anyhow::Result<Self> {
        let (http, until) = (http.to_owned(), Instant::now() + time_max);
        let (say, said) = sync_channel(1);
        let wait = move || {
            // Nobody listens any more: the run has ended, and so does this thread.
            let _ = say.send(wait_for(&http, wanted, until));
        };
        thread::Builder::new()
            .name("watch".to_owned())
            .spawn(wait)
            .context("cannot start the thread that watches the server's programs")?;
        Ok(Self { said })
    }

    /// How the waiting ended, once.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match self.said.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            // It says something unless it panicked.
            Err(TryRecvError::Disconnected) => Some(Outcome::Late(Census::default())),
        }
    }
}

fn wait_for(http: &str, wanted: Wanted, until: Instant) -> Outcome {
    let mut last = Census::default();
    loop {
        // A server under load may be too busy to answer; the next question may be luckier.
        if let Ok(census) = shards(http).and_then(|reply| Census::of(&reply)) {
            last = census;
            if census.is_settled(wanted.tenants, wanted.with_programs) {
                return Outcome::Settled(census);
            }
        }
        if Instant::now() >= until {
            return Outcome::Late(last);
        }
        thread::sleep(Duration::from_millis(WATCH_MS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::tests::shard;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    /// A server that gives these answers, one after the other.
    fn serve(answers: Vec<serde_json::Value>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answer = move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = [0; 4_096];
                assert!(stream.read(&mut asked).unwrap() > 0);
                let body = answer.to_string();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).unwrap();
            }
        };
        thread::Builder::new().spawn(answer).unwrap();
        address
    }

    fn census(tenants: u64, programs: u64, pending: u64) -> serde_json::Value {
        let mut shard = shard(tenants, programs);
        shard["levels"]["programs_pending"]["now"] = pending.into();
        shard["levels"]["programs_failed"]["now"] = 0.into();
        serde_json::json!({ "shards": [shard] })
    }

    fn end_of(watch: &Watch) -> Outcome {
        watch.said.recv().unwrap()
    }

    #[test]
    fn it_waits_until_the_last_program_lives() {
        let http = serve(vec![census(5, 5, 0), census(9, 3, 6), census(9, 9, 0)]);
        let wanted = Wanted { tenants: 9, with_programs: true };
        let watch = Watch::begin(&http, wanted, Duration::from_secs(60)).unwrap();
        let Outcome::Settled(seen) = end_of(&watch) else { panic!("in time") };
        assert_eq!((seen.tenants_live, seen.programs_live), (9, 9));
    }

    #[test]
    fn a_wait_in_vain_says_what_there_was() {
        let http = serve(vec![census(9, 8, 0)]);
        let wanted = Wanted { tenants: 9, with_programs: true };
        let watch = Watch::begin(&http, wanted, Duration::ZERO).unwrap();
        let Outcome::Late(seen) = end_of(&watch) else { panic!("one lives not") };
        assert_eq!(seen.programs_live, 8);
    }
}
