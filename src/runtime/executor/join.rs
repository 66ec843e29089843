//! Waiting for a task's result.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_task::Task;

/// The result of a spawned task, to be awaited. Dropping it lets the task go on by itself.
pub struct JoinHandle<T>(Option<Task<T>>);

impl<T> JoinHandle<T> {
    pub(super) fn new(task: Task<T>) -> JoinHandle<T> {
        JoinHandle(Some(task))
    }

    /// Drops the task where it waits, soon. Its operations in flight complete unheard.
    pub fn cancel(mut self) {
        drop(self.0.take());
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(Task::is_finished)
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let task = self.0.as_mut().expect("present until the drop");
        Pin::new(task).poll(cx)
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }
}
