//! Promises kept by real processes: one behaviour per file, the file name is the promise.

mod a_damaged_output_is_made_again;
mod a_full_disk_sends_attempts_elsewhere;
mod abort_of_a_map_is_contained;
mod an_older_data_directory_goes_on;
mod bad_records_are_left_out_when_asked;
mod coordinator_dies_and_returns;
mod damage_is_never_silent;
mod dev_is_a_whole_cluster_until_ctrl_c;
mod fixture;
mod hadoop_fs_is_a_tree_of_directories;
mod kills_lose_nothing;
mod outputs_of_a_dead_host_are_made_again;
mod overload_is_bounded;
mod power_loss_keeps_what_was_acknowledged;
mod run_counts_words_in_one_process;
mod stops_at_any_system_call;
mod stragglers_get_backups;
mod submit_speaks_to_people;
mod the_mapreduce_lab_passes;
mod tls_is_pinned_by_the_join_line;
mod two_hosts_relay_through_the_coordinator;
mod what_cannot_run_is_explained;
mod worker_dies_mid_map;
mod worker_drains_on_sigterm;
mod wrong_tokens_are_refused;
mod zombies_are_harmless;
