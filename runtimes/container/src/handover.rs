//! What is made in a task of its own and handed to who asked for it; or, when nobody waits any more, to somebody who
//! cares for it. It is never dropped on the way.

use std::sync::Arc;

use tokio::{runtime::Handle as Tokio, sync::oneshot};

use crate::backend::Container;

type Unwanted<T> = Arc<dyn Fn(T) + Send + Sync>;

/// The end of who makes it.
pub(crate) struct Giver<T> {
    to: oneshot::Sender<T>,
    unwanted: Unwanted<T>,
}

/// The end of who asked for it; may be dropped at any moment.
pub(crate) struct Taker<T> {
    from: oneshot::Receiver<T>,
    unwanted: Unwanted<T>,
}

/// Both ends. `unwanted` gets what is given after the taker has gone, or was given and never taken.
pub(crate) fn handover<T>(unwanted: impl Fn(T) + Send + Sync + 'static) -> (Giver<T>, Taker<T>) {
    let (to, from) = oneshot::channel();
    let unwanted: Unwanted<T> = Arc::new(unwanted);
    (Giver { to, unwanted: Arc::clone(&unwanted) }, Taker { from, unwanted })
}

impl<T> Giver<T> {
    pub(crate) fn give(self, value: T) {
        if let Err(value) = self.to.send(value) {
            (self.unwanted)(value);
        }
    }
}

impl<T> Taker<T> {
    /// Waits for it; `None` when the giver has gone without a word.
    pub(crate) async fn take(mut self) -> Option<T> {
        (&mut self.from).await.ok()
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        // Closed first: what comes later stays with the giver.
        self.from.close();
        if let Ok(value) = self.from.try_recv() {
            (self.unwanted)(value);
        }
    }
}

/// Has a container made in a task of its own, since what an engine has begun can't be taken back: when nobody waits for
/// it any more, it is removed once it is there. `None` when that task has failed.
pub async fn make_container<E: Send + 'static>(
    name: String,
    make: impl Future<Output = Result<Container, E>> + Send + 'static,
) -> Option<Result<Container, E>> {
    let (giver, taker) = handover(move |made: Result<Container, E>| {
        let (Ok(unwanted), Ok(tokio)) = (made, Tokio::try_current()) else { return };
        let name = name.clone();
        tokio.spawn(async move {
            if let Err(error) = unwanted.handle.remove().await {
                tracing::warn!(sandbox = name, %error, "a container that nobody waits for is left to the next sweep");
            }
        });
    });
    tokio::spawn(async move { giver.give(make.await) });
    taker.take().await
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Mutex,
        task::{Context, Poll, Waker},
    };

    use super::*;

    /// Both ends, and what nobody wanted.
    fn ends() -> (Giver<u32>, Taker<u32>, Arc<Mutex<Vec<u32>>>) {
        let unwanted = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&unwanted);
        let (giver, taker) = handover(move |value| kept.lock().unwrap().push(value));
        (giver, taker, unwanted)
    }

    #[tokio::test]
    async fn what_is_taken_is_the_takers_alone() {
        let (giver, taker, unwanted) = ends();
        giver.give(7);
        assert_eq!(taker.take().await, Some(7));
        assert_eq!(*unwanted.lock().unwrap(), Vec::<u32>::new());
    }

    #[test]
    fn what_comes_too_late_is_not_lost() {
        let (giver, taker, unwanted) = ends();
        drop(taker);
        giver.give(7);
        assert_eq!(*unwanted.lock().unwrap(), [7]);
    }

    #[test]
    fn what_was_given_and_never_taken_is_not_lost() {
        let (giver, taker, unwanted) = ends();
        let mut taking = Box::pin(taker.take());
        let waits = taking.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(waits, Poll::Pending);
        giver.give(7);
        drop(taking);
        assert_eq!(*unwanted.lock().unwrap(), [7]);
    }

    #[tokio::test]
    async fn a_giver_that_has_gone_is_told() {
        let (giver, taker, _) = ends();
        drop(giver);
        assert_eq!(taker.take().await, None);
    }
}
