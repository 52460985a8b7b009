//! tokio's watch channel, but whoever waits is woken in the order of waiting. tokio draws that order at random.

use futures::FutureExt;
use openraft::async_runtime::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use openraft::{OptionalSend, OptionalSync};
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// See above.
pub(crate) struct Ordered;

pub(crate) struct Sender<T> {
    /// `None` while it is dropped.
    inner: Option<watch::Sender<T>>,
    bell: Arc<Notify>,
}

pub(crate) struct Receiver<T> {
    inner: watch::Receiver<T>,
    bell: Arc<Notify>,
}

impl<T> Sender<T> {
    fn inner(&self) -> &watch::Sender<T> {
        self.inner.as_ref().expect("it is not dropped")
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { inner: self.inner.clone(), bell: self.bell.clone() }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Receiver { inner: self.inner.clone(), bell: self.bell.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.inner = None;
        self.bell.notify_waiters();
    }
}

impl Watch for Ordered {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = watch::Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let ((sender, receiver), bell) = (watch::channel(init), Arc::new(Notify::new()));
        (Sender { inner: Some(sender), bell: bell.clone() }, Receiver { inner: receiver, bell })
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<Ordered, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.inner().send(value).map_err(|error| SendError(error.0))?;
        self.bell.notify_waiters();
        Ok(())
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        let modified = self.inner().send_if_modified(modify);
        if modified {
            self.bell.notify_waiters();
        }
        modified
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.inner().borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        Receiver { inner: self.inner().subscribe(), bell: self.bell.clone() }
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<Ordered, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            let bell = self.bell.clone();
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            match self.inner.changed().now_or_never() {
                Some(changed) => return changed.map_err(|_| RecvError(())),
                None => rung.await,
            }
        }
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.inner.borrow()
    }

    fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        self.inner.borrow_and_update()
    }
}
