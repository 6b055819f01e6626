//! The venue in pure code: what it does when all is well, and what goes wrong on demand.

#![cfg(test)]

mod bench;
mod faults;
mod normal;
