//! How much a key may ask for.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::ApiError;

/// A key's limits; `None` is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Requests in a minute: so many at once, then as fast as they come back.
    pub requests_per_minute: Option<u32>,
    /// Requests under way at once.
    pub concurrent: Option<usize>,
}

/// Counts one key's requests.
#[derive(Debug)]
pub(super) struct Meter {
    rate: Option<Rate>,
    places: Option<(usize, Arc<Semaphore>)>,
}

/// A place among the requests that are under way.
pub type Permit = OwnedSemaphorePermit;

/// A bucket of requests that fills up evenly.
#[derive(Debug)]
struct Rate {
    per_minute: u32,
    left: Mutex<(f64, Instant)>,
}

impl Meter {
    pub fn new(limits: Limits) -> Self {
        let rate = |per_minute: u32| Rate { per_minute, left: Mutex::new((f64::from(per_minute), Instant::now())) };
        let places = |concurrent| (concurrent, Arc::new(Semaphore::new(concurrent)));
        Self { rate: limits.requests_per_minute.map(rate), places: limits.concurrent.map(places) }
    }

    /// Counts a request; what is returned is its place among those under way.
    pub fn admit(&self, name: &str) -> Result<Option<Permit>, ApiError> {
        let permit = match &self.places {
            None => None,
            Some((limit, places)) => match places.clone().try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => {
                    let message = format!("key `{name}` has {limit} requests under way, which is its limit");
                    return Err(ApiError::rate_limited(message, Duration::from_secs(1)));
                }
            },
        };
        if let Some(rate) = &self.rate {
            rate.take().map_err(|wait| {
                let message = format!("key `{name}` has made {} requests in a minute, which is its limit", rate.per_minute);
                ApiError::rate_limited(message, wait)
            })?;
        }
        Ok(permit)
    }
}

impl Rate {
    /// Takes one, or tells how long it is until there is one.
    fn take(&self) -> Result<(), Duration> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, since) = &mut *left;
        let most = f64::from(self.per_minute);
        let per_second = most / 60.0;
        let now = Instant::now();
        *count = (*count + now.duration_since(*since).as_secs_f64() * per_second).min(most);
        *since = now;
        if *count < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - *count) / per_second));
        }
        *count -= 1.0;
        Ok(())
    }
}

/// An answer's body that keeps its request's place.
pub(super) struct Held {
    body: Body,
    _place: Permit,
}

impl Held {
    pub fn new(body: Body, place: Permit) -> Self {
        Self { body, _place: place }
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_come_back_evenly_and_no_more_than_a_minutes_are_saved() {
        let meter = Meter::new(Limits { requests_per_minute: Some(6), concurrent: None });
        let take = || meter.admit("ada").map(drop);
        for _ in 0..6 {
            take().unwrap();
        }
        let refused = take().unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.retry_after()), (429, Some(10)));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(take().unwrap_err().retry_after(), Some(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        take().unwrap();
        take().unwrap_err();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((0..10).filter(|_| take().is_ok()).count(), 6);
    }

    #[test]
    fn a_request_refused_for_its_place_does_not_count() {
        let meter = Meter::new(Limits { requests_per_minute: Some(2), concurrent: Some(1) });
        let held = meter.admit("ada").unwrap();
        meter.admit("ada").unwrap_err();
        drop(held);
        meter.admit("ada").unwrap();
    }
}
