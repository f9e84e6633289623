//! The commands, one file each. They write to what they are given and never end the process.

pub mod check;
pub mod run;
pub mod schema;
