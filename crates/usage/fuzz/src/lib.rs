//! What the fuzz targets share: how an input says what is read, and in which pieces.

pub mod case;
pub mod encode;
pub mod ending;
pub mod events;
pub mod frame;
pub mod pieces;
pub mod pointed;
pub mod seen;
pub mod websocket;
