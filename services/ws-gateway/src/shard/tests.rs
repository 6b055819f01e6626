mod bench;
mod clients;
mod property;
mod resume;
mod writes;
