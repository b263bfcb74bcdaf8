//! What a log promises, on disks that fail and processes that die.

mod damage;
mod failures;
mod faulty;
mod kills;
mod kit;
mod places;
mod privacy;
mod rotation;
