//! Facts about the kernel that the design rests on: the questions of spec/libzfs-core.md §12 and some more. What is the
//! same in every release is asserted; the rest is printed as `fact LETTER: answer` and collected in docs/zfs-facts.md.

mod kernel;
mod layout;
mod lease;
mod lists;
mod streams;
mod time;

use super::{Scenario, Verdict};
use crate::bed::Bed;

pub(super) const LIST: &[Scenario] = &[
    Scenario::native("fact_a_epipe_is_eintr", streams::epipe_is_eintr),
    Scenario::native(
        "fact_b_signal_restarts_a_receive",
        streams::signal_restarts_a_receive,
    ),
    Scenario::native(
        "fact_c_sockets_carry_streams",
        streams::sockets_carry_streams,
    ),
    Scenario::native(
        "fact_d_socket_timeout_keeps_state",
        streams::socket_timeout_keeps_state,
    ),
    Scenario::native("fact_e_freebsd", freebsd),
    Scenario::native("fact_f_shapes_of_error_lists", lists::shapes_of_error_lists),
    Scenario::native(
        "fact_g_replies_that_do_not_fit",
        lists::replies_that_do_not_fit,
    ),
    Scenario::native("fact_h_history_of_programs", time::history_of_programs),
    Scenario::native(
        "fact_i_what_streams_keep_busy",
        streams::what_streams_keep_busy,
    ),
    Scenario::native("fact_j_size_of_the_block", layout::size_of_the_block),
    Scenario::native(
        "fact_k_holds_share_transaction_groups",
        time::holds_share_transaction_groups,
    ),
    Scenario::native("fact_l_snapshots_changed", time::snapshots_changed),
    Scenario::native("fact_m_simple_listings", layout::simple_listings),
    Scenario::native(
        "fact_n_leases_end_with_their_holder",
        lease::leases_end_with_their_holder,
    ),
    Scenario::native("fact_o_destroy_is_atomic", lists::destroy_is_atomic),
    Scenario::native("fact_p_unknown_requests", lists::unknown_requests),
    Scenario::native(
        "fact_q_rollback_and_newer_bookmark",
        lists::rollback_and_newer_bookmark,
    ),
    Scenario::native("fact_r_device_mode", layout::device_mode),
];

/// Does what a child process is started for here; false if the action is not one of these.
pub(super) fn child_action(action: &str) -> bool {
    match action {
        "fact-snapshot-beyond-limit" => lists::snapshot_beyond_limit(),
        "fact-hold-a-lease" => lease::hold_a_lease(),
        "fact-open-device" => layout::open_device(),
        _ => return false,
    }
    true
}

fn freebsd(bed: &mut Bed) -> Verdict {
    bed.fact("e", "not asked: FreeBSD only");
    Ok(())
}
