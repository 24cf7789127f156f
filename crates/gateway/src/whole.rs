//! An answer that is whole, while it waits for the resource that it names.

use crate::{admitted::Admitted, end::End, measures::Measures, resources::Claiming};

/// An answer that is whole, and of which nothing but its settlement is left.
///
/// Dropping it, as happens when the client goes away, settles it with what it said: the service did the work.
pub(crate) struct Whole<'a> {
    pub(crate) admitted: Option<Admitted>,
    pub(crate) status: u16,
    pub(crate) measures: Measures<'a>,
}

impl Whole<'_> {
    /// Waits until the resource is claimed, or is not to be had. Dropping the future gives the claim up, and then settles.
    pub(crate) async fn claimed(mut self, claiming: Claiming) -> Option<Admitted> {
        let kept = claiming.await;
        let mut admitted = self.admitted.take()?;
        admitted.keep(kept);
        Some(admitted)
    }
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        if let Some(admitted) = self.admitted.take() {
            // Nobody waits for the disk.
            let _ = admitted.settle(End::ReadOn { status: self.status }, &self.measures);
        }
    }
}
