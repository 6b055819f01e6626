//! The venue without a socket: bytes and time in, bytes and endings out.

#![cfg(test)]

mod bench;
mod faults;
mod normal;
mod requests;
mod sessions;
mod streams;
