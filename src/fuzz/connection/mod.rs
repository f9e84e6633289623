//! Any bytes on a whole connection: the edge as it runs, between a client and two apps, all in one thread and in no more
//! time than it takes to compute. Time stands still while anybody has something to do, so a pause of the client's ends
//! only once everybody else waits.
//!
//! The bytes are the client's, and every request that an app parses has to be one that the edge has counted; or they
//! are an app's answer, and the client has to get that, or what can't be taken for it. `judge` has what is compared.

mod apps;
mod client;
mod judge;
mod log;
mod stage;

use std::time::Duration;

use tokio::time::sleep;

use self::{
    client::{Opening, SECOND, THIRD, may_go_on},
    judge::Answered,
    stage::{QUIET, Run},
};

/// Ends a piece of what is sent: the next one follows when everybody has made of it what they can. A second one in a row
/// is a pause of a second.
const CUT: u8 = 0xff;
/// Further ones are no pauses.
const PAUSES_MAX: usize = 8;
const PAUSE: Duration = Duration::from_secs(1);

/// Whether the bytes are an app's.
const APP: u8 = 1;
/// Of a client: whether it ends its sending side behind the last byte, instead of being silent.
const LEAVES: u8 = 2;
/// Of a client: whether the edge expects a PROXY header of it.
const PROXIED: u8 = 4;
/// Of an app: whether it keeps its connection open behind the last byte, instead of closing it.
const STAYS: u8 = 0x40;

/// The first byte is a set of switches; of an app's, three bits pick the request that it answers.
pub fn run(data: &[u8]) {
    let Some((&switches, bytes)) = data.split_first() else {
        return;
    };
    if switches & APP == 0 {
        let proxied = switches & PROXIED != 0;
        stage::play(proxied, |run| from_client(run, switches, bytes));
    } else {
        stage::play(false, |run| from_app(run, switches, bytes));
    }
}

/// A client says whatever it likes.
async fn from_client(run: Run, switches: u8, bytes: &[u8]) {
    let mut client = run.connect();
    for (piece, pause) in pieces(bytes) {
        client.send(piece).await;
        sleep(pause).await;
    }
    if switches & LEAVES != 0 {
        client.leave().await;
    }
    let outcome = run.end(client).await;
    // A client that the PROXY header names may be trusted, and then names its requests itself.
    let distinct = switches & PROXIED == 0;
    judge::requests(&outcome.book, &outcome.lines, distinct);
    if distinct {
        judge::sent(&without_cuts(bytes), &outcome.lines);
    }
    judge::responses(&outcome.got, &outcome.lines);
}

/// An app answers whatever it likes to the first of three requests, of which the second is for another tenant.
async fn from_app(run: Run, switches: u8, bytes: &[u8]) {
    let opening = Opening::of(switches >> 1);
    let closes = switches & STAYS == 0;
    run.book().set_script(bytes, closes);
    let mut client = run.connect();
    client.open(opening).await;
    run.book().script_is_over().await;
    if let Some(answer) = client.answer(opening) {
        let further: &[_] = if may_go_on(&answer) {
            &[SECOND, THIRD]
        } else {
            &[]
        };
        for request in further {
            client.send(request).await;
            sleep(QUIET).await;
        }
        client.leave().await;
    }
    let outcome = run.end(client).await;
    let answered = Answered {
        opening,
        said: &without_cuts(bytes),
        closes,
    };
    answered.judge(&outcome);
}

fn without_cuts(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|&byte| byte != CUT).collect()
}

/// The pieces of what is sent, and how long to wait behind each.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = (&[u8], Duration)> {
    let mut pauses = 0;
    bytes.split(|&byte| byte == CUT).map(move |piece| {
        if piece.is_empty() && pauses < PAUSES_MAX {
            pauses += 1;
            (piece, PAUSE)
        } else {
            (piece, QUIET)
        }
    })
}
