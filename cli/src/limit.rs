//! How fast this program may ask, if its user sets a limit.

use std::time::Duration;

use tokio::{sync::Mutex, time::Instant};

/// So many requests in a second, and so many at once.
#[derive(Debug)]
pub(crate) struct Limit {
    gap: Duration,
    /// How far requests may run ahead of their turn.
    ahead: Duration,
    turn: Mutex<Option<Instant>>,
}

impl Limit {
    /// Reads `RATE` or `RATE:BURST`; a rate of 0 limits nothing.
    pub(crate) fn read(text: &str) -> Result<Option<Limit>, String> {
        let wrong = || format!("must be requests per second, such as 5, or with a burst 5:10, not {text:?}");
        let (rate, burst) = match text.split_once(':') {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let rate: f64 = rate.trim().parse().map_err(|_| wrong())?;
        let burst = burst.map(|burst| burst.trim().parse::<u32>()).transpose().map_err(|_| wrong())?;
        if rate == 0.0 {
            return Ok(None);
        }
        let gap = Duration::try_from_secs_f64(1.0 / rate).map_err(|_| wrong())?;
        // Without a burst it is as many as one second lets through.
        let burst = burst.unwrap_or_else(|| whole(rate));
        if burst == 0 {
            return Err(wrong());
        }
        Ok(Some(Limit { gap, ahead: gap.saturating_mul(burst - 1), turn: Mutex::new(None) }))
    }

    /// Waits for the turn of one request.
    pub(crate) async fn wait(&self) {
        let mut turn = self.turn.lock().await;
        let (begin, next) = self.turns(*turn, Instant::now());
        *turn = Some(next);
        tokio::time::sleep_until(begin).await;
    }

    /// When a request may begin, and whose turn comes after it.
    fn turns(&self, turn: Option<Instant>, now: Instant) -> (Instant, Instant) {
        let mine = turn.map_or(now, |turn| turn.max(now));
        (mine.checked_sub(self.ahead).unwrap_or(now), mine.checked_add(self.gap).unwrap_or(mine))
    }
}

/// At least one.
fn whole(rate: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is finite and within the bounds"
    )]
    let whole = rate.clamp(1.0, 1_000_000.0) as u32;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_wait_for_their_turn() {
        let limit = Limit::read("2:3").unwrap().unwrap();
        let now = Instant::now();
        let mut turn = None;
        let mut waits = Vec::new();
        for _ in 0..5 {
            let (begin, next) = limit.turns(turn, now);
            turn = Some(next);
            waits.push(begin.saturating_duration_since(now).as_millis());
        }
        assert_eq!(waits, [0, 0, 0, 500, 1000]);
        let later = now + Duration::from_secs(60);
        assert_eq!(limit.turns(turn, later), (later - limit.ahead, later + limit.gap));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in ["x", "", "5:x", "5:0", "5:-1", "-1", "nan", "1:2:3"] {
            assert!(Limit::read(text).is_err(), "{text}");
        }
        assert!(Limit::read("0").unwrap().is_none());
        assert_eq!(Limit::read("0.5").unwrap().unwrap().gap, Duration::from_secs(2));
        assert_eq!(Limit::read("4").unwrap().unwrap().ahead, Duration::from_millis(750));
    }
}
