//! More questions to a system outside than are asked at once: they wait for their turn, each address in a line of its own.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use kernel::{Answer, Audited, Handled, Request};
use kit::Verb::{Get, Post};
use tests::desk::{Desk, request};

use crate::outside::{Directory, Mood, desk};

/// How many questions of one mount are asked at once.
const AT_ONCE: usize = 64;
/// How many of one address wait for that.
const IN_LINE: usize = 256;

type Asking<'a> = Pin<Box<dyn Future<Output = Audited<Answer>> + 'a>>;

fn stage(seed: u64) -> (Desk, Directory) {
    let (desk, directory) = desk(seed);
    desk.ask(Post, "r/directory", r#"{"at":"dir"}"#).expect(204);
    directory.mood(Mood::Asleep);
    (desk, directory)
}

fn ask(desk: &Desk, from: u8) -> Asking<'_> {
    let asked = request(&desk.root, Get, "r/lookup/ann", "");
    let remote = kit::Remote { address: Some([10, 0, 0, from].into()), ..kit::Remote::default() };
    let asked = Request { remote, ..asked };
    Box::pin(async move {
        match desk.kernel.handle(&asked) {
            Handled::Done(answer) => answer,
            Handled::Later(pending) => desk.kernel.finish(pending, &asked).await,
        }
    })
}

fn poll(asking: &mut Asking<'_>) -> Option<Answer> {
    match asking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer.into_inner()),
        Poll::Pending => None,
    }
}

/// So many questions from one address, none of which is answered.
fn crowd(desk: &Desk, from: u8, count: usize) -> Vec<Asking<'_>> {
    let mut crowd: Vec<Asking<'_>> = (0..count).map(|_| ask(desk, from)).collect();
    assert!(crowd.iter_mut().all(|asking| poll(asking).is_none()));
    crowd
}

#[test]
fn who_finds_no_place_waits_and_is_asked_about_in_turn() {
    let (desk, directory) = stage(1);
    let asked = crowd(&desk, 1, AT_ONCE);
    let calls = directory.calls();
    let mut waiting = crowd(&desk, 1, 200 - AT_ONCE);
    assert_eq!(directory.calls(), calls, "no more are asked at once");
    directory.mood(Mood::Well);
    drop(asked);
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain_mut(|asking| match poll(asking) {
            Some(answer) => {
                assert_eq!(answer.status, 200);
                false
            }
            None => true,
        });
        assert!(waiting.len() < before, "somebody is always next");
    }
}

#[test]
fn who_has_waited_too_long_is_told_when_to_come_again() {
    let (desk, directory) = stage(2);
    let _asked = crowd(&desk, 1, AT_ONCE);
    // Nobody waits here: each pause is over at once.
    directory.mood(Mood::Well);
    let refused = poll(&mut ask(&desk, 1)).expect("an answer");
    assert_eq!((refused.status, refused.retry_after), (429, Some(1)));
    assert!(String::from_utf8_lossy(&refused.body).contains("too many requests wait for systems outside"));
}

#[test]
fn a_crowd_from_one_address_leaves_room_for_others() {
    let (desk, directory) = stage(3);
    let asked = crowd(&desk, 1, AT_ONCE);
    let waiting = crowd(&desk, 1, IN_LINE);
    assert_eq!(poll(&mut ask(&desk, 1)).expect("the line is full").status, 429);
    let mut other = crowd(&desk, 2, 1);
    directory.mood(Mood::Well);
    // Two places are free, and the second is that of the other's line.
    let mut asked = asked;
    asked.truncate(AT_ONCE - 2);
    assert_eq!(poll(&mut other[0]).expect("its line is next").status, 200);
    drop(waiting);
}
