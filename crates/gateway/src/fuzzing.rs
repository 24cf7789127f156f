//! What the fuzz targets reach of the gateway.

/// Reads `input` as what a client sends over HTTP/1.
///
/// # Panics
/// When what is read depends on how it is cut, or changes its meaning when it is written again.
pub fn requests(input: &[u8]) {
    crate::downstream::fuzzed::check(input);
}
