//! sideload
