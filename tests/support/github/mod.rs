//! GitHub as tests need it: its published description, and a front that speaks it with a Gitea behind.
// Each test program uses a part of this.
#![allow(dead_code, unreachable_pub)]

pub mod front;
pub mod openapi;
