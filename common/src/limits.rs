//! Every limit of Gristmill: its name, its unit, and why it is what it is.
//!
//! A limit that users may set is a default here; the flag or field that changes it is named beside it.

/// Version of the exchange between worker and coordinator.
pub const PROTOCOL: u32 = 4;
/// Oldest version that a coordinator serves: the one before, and older ones while they cost nothing.
pub const OLDEST_PROTOCOL: u32 = 1;
/// First version whose workers can leave records out.
pub const PROTOCOL_THAT_SKIPS: u32 = 2;
/// First version whose workers read formats other than lines, and files packed with anything but gzip.
pub const PROTOCOL_THAT_READS_FORMATS: u32 = 2;
/// First version whose workers write parts as finished files.
pub const PROTOCOL_THAT_FINISHES_PARTS: u32 = 3;
/// First version whose workers read plans whose files have tags.
pub const PROTOCOL_THAT_READS_TAGS: u32 = 3;
/// First version whose workers sort records of formats other than lines.
pub const PROTOCOL_THAT_SORTS_FORMATS: u32 = 3;
/// First version whose workers write formats other than lines, and packed files.
pub const PROTOCOL_THAT_WRITES_FORMATS: u32 = 3;
/// First version whose workers read parts of packed files, and Parquet.
pub const PROTOCOL_THAT_READS_BLOCKS: u32 = 3;
/// First version whose workers run a reduce and the next step's map in one task.
pub const PROTOCOL_THAT_FUSES: u32 = 3;

/// Tasks in one job: keeps the scheduler's tables under 300 MiB at 300 bytes per task.
pub const TASKS_PER_JOB: u64 = 1_000_000;
/// Name of a job, in characters: a column of a table.
pub const JOB_NAME_CHARS: usize = 200;
/// Name of a native program, in bytes.
pub const PROGRAM_NAME_BYTES: usize = 200;
/// Highest priority of a job; the lowest is as far below 0.
pub const PRIORITY: i32 = 1_000;
/// Steps in one job: longer chains are several jobs.
pub const STEPS_PER_JOB: usize = 64;
/// Reduce tasks of one step: a map output's index has an entry for each.
pub const PARTITIONS: u32 = 10_000;
/// Failures of user code that one task may have before its job fails (spec: `attempts`).
pub const ATTEMPTS: u32 = 4;
/// Highest `attempts` a spec may ask for.
pub const ATTEMPTS_MAX: u32 = 100;
/// Workers that may die under one task before its job fails: poison, not bad luck.
pub const WORKER_LOSSES: u32 = 10;
/// Attempts of one task that may fail through their workers' fault (full disk, no executor) before its job fails: with the
/// wait between them that is a quarter of an hour.
pub const WORKER_FAILURES: u32 = 30;
/// Times one map output may be reported lost or damaged before its job fails: then the disk, not the worker, is bad.
pub const LOST_OUTPUTS: u32 = 20;
/// First wait before a failed task is granted again; doubles with each failure, in milliseconds.
pub const RETRY_BACKOFF_MS: u64 = 250;
/// Longest wait before a failed task is granted again, in milliseconds.
pub const RETRY_BACKOFF_MAX_MS: u64 = 30_000;

/// How often stragglers are looked for while slots are idle, in milliseconds.
pub const BACKUP_LOOK_MS: u64 = 1_000;
/// Least age of an attempt that gets a rival, in milliseconds: below it a rival costs more than it saves.
pub const BACKUP_AGE_MS: u64 = 1_000;
/// Slots of the fleet that rivals may have together, in hundredths: they must not crowd out who comes next.
pub const BACKUP_SLOTS_PERCENT: u64 = 25;
/// Tasks of a stage that may still be open when backups begin, in hundredths: while there are more, idle slots are for them.
pub const BACKUP_OPEN_PERCENT: u64 = 5;
/// Attempts of a job looked at for stragglers at a time.
pub const BACKUP_ATTEMPTS_PER_LOOK: usize = 20_000;

/// Failures through its own fault within the window that bench a worker.
pub const QUARANTINE_STRIKES: usize = 5;
/// The window, in leases: two minutes at the default.
pub const QUARANTINE_WINDOW_LEASES: u64 = 4;
/// How long a worker is benched at most, in leases; the first time it is one, then twice as long each time.
pub const QUARANTINE_MAX_LEASES: u64 = 16;
/// How long a silent worker is listed, in leases: an hour at the default.
pub const FORGET_WORKER_LEASES: u64 = 120;

/// How long a job that failed or was cancelled keeps what it has, in milliseconds (`--retain-failed`): until the next day.
pub const RETAIN_FAILED_MS: u64 = 24 * 3_600_000;

/// Workers known at a time.
pub const WORKERS: usize = 10_000;
/// Slots of one worker.
pub const SLOTS: u32 = 1_024;
/// Tasks in one poll's answer: bounds the answer and what one lost worker takes with it.
pub const TASKS_PER_GRANT: u32 = 4_096;
/// Grants in one poll's answer.
pub const GRANTS_PER_ANSWER: usize = 64;
/// Map outputs asked for in one poll's `relay`.
pub const RELAYS_PER_ANSWER: usize = 64;
/// Attempts that a worker may hold at a time, prefetched ones included.
pub const HELD_ATTEMPTS: u64 = 65_536;
/// How long a lease lasts without a poll, in milliseconds (`--lease`).
pub const LEASE_MS: u64 = 30_000;
/// How long a poll without work is held, in milliseconds.
pub const HOLD_MS: u64 = 10_000;
/// How often a busy worker polls to renew its lease, in milliseconds; grows with the fleet.
pub const RENEW_MS: u64 = 1_000;
/// Prefetch aims at this much work in hand, in milliseconds.
pub const PREFETCH_MS: u64 = 100;

/// A job spec, in bytes: 4 MiB hold 40,000 input URLs.
pub const SPEC_BYTES: usize = 4 << 20;
/// A poll's body, in bytes: an outbox of inline outputs and a full state fit.
pub const POLL_BYTES: usize = 8 << 20;
/// Bytes of reports that a worker puts into one poll; the rest waits in the outbox.
pub const REPORTS_PER_POLL_BYTES: usize = 4 << 20;
/// A JSON body of any other route, in bytes.
pub const BODY_BYTES: usize = 1 << 20;
/// A JSON answer that a client reads, in bytes: the table of a million map outputs fits.
pub const ANSWER_BYTES: usize = 256 << 20;
/// An output that travels inside its report, in bytes: larger ones are files.
pub const INLINE_OUTPUT_BYTES: usize = 16 << 10;
/// Tasks of a stage whose outputs travel inside their reports: every reduce is told all map outputs of its step, so that
/// 1,000 of them are 22 MB at most, and a journal row is never one of a million.
pub const INLINE_TASKS: u32 = 1_000;
/// Unacknowledged reports that a worker keeps on disk, in bytes; when full it takes no more work.
pub const OUTBOX_BYTES: u64 = 256 << 20;
/// Text of an error that travels, in bytes.
pub const MESSAGE_BYTES: usize = 4 << 10;
/// Counters of one job.
pub const COUNTERS: usize = 1_000;
/// The counter of bytes that maps wrote and read once more because their records were more than the sort budget.
pub const SPILLED_COUNTER: &str = "gristmill.spilled_bytes";
/// Name of a counter, in bytes.
pub const COUNTER_NAME_BYTES: usize = 200;
/// Programs that a worker announces.
pub const PROGRAMS: usize = 256;

/// A line or a key, in bytes: longer ones fail the attempt with the file and offset.
pub const LINE_BYTES: usize = 64 << 20;
/// Times its own size that a packed input file may unpack to beyond [`INPUT_SLACK_BYTES`]: gzip cannot pass 1,032, and what
/// passes this holds nothing but the same few bytes.
pub const INPUT_RATIO: u64 = 5_000;
/// What any packed input file may unpack to, in bytes.
pub const INPUT_SLACK_BYTES: u64 = 1 << 30;
/// Blocks or frames of a packed file that the planner looks at, to cut it: 256 GiB of BGZF, a minute of small reads.
pub const PACKED_BLOCKS: u64 = 4 << 20;
/// Bytes of a Zstandard frame in which the planner looks for its end: what is larger is hardly worth a cut behind it.
pub const FRAME_WALK_BYTES: u64 = 64 << 20;
/// Frames of a seekable Zstandard file that is cut: their table is read at once.
pub const SEEK_TABLE_FRAMES: u64 = 1 << 20;
/// The footer of a Parquet file, in bytes: it takes some ten times as much in memory. A hundred columns of a thousand row
/// groups with statistics fit.
pub const PARQUET_FOOTER_BYTES: usize = 16 << 20;
/// Elements of all lists in a Parquet footer: memory is taken for as many as a list claims to have.
pub const PARQUET_ELEMENTS: u64 = 1 << 20;
/// A page of a Parquet file, packed and unpacked, in bytes: other tools write pages of up to 100 MB.
pub const PARQUET_PAGE_BYTES: usize = 256 << 20;
/// What a row group of a Parquet file that is written holds at most, in bytes before they are encoded: a task keeps it in memory.
pub const ROW_GROUP_BYTES: u64 = 64 << 20;
/// Rows of a row group that is written.
pub const ROW_GROUP_ROWS: u64 = 1_000_000;
/// Columns of a Parquet file that a spec names.
pub const COLUMNS: usize = 10_000;
/// Read ahead of all columns of a Parquet file together, in bytes.
pub const PARQUET_WINDOWS_BYTES: u64 = 32 << 20;
/// Read ahead of one column at most, in bytes.
pub const PARQUET_WINDOW_BYTES: u64 = 1 << 20;
/// Read ahead of one column at least, in bytes.
pub const PARQUET_WINDOW_MIN_BYTES: u64 = 64 << 10;
/// Window of a Zstandard frame, as a power of two: a reader holds one.
pub const ZSTD_WINDOW_LOG: u32 = 27;
/// Target size of a split, in bytes, when the input is large (spec: `split.bytes`).
pub const SPLIT_BYTES: u64 = 64 << 20;
/// Smallest split that is made when the input is small, in bytes: below it a task costs more than its work.
pub const SPLIT_MIN_BYTES: u64 = 1 << 20;
/// Splits that a small input is cut into, so that a laptop's cores all get some.
pub const SPLITS_OF_SMALL_INPUT: u64 = 16;
/// Smallest `split.bytes` that a spec may ask for.
pub const SPLIT_FLOOR_BYTES: u64 = 1;
/// Largest `split.bytes`: an uploaded file in one piece.
pub const SPLIT_CEILING_BYTES: u64 = UPLOAD_BYTES;
/// Files in one split: opening files is what a task with many small ones does.
pub const FILES_PER_SPLIT: usize = 10_000;
/// Input files of one job.
pub const INPUT_FILES: usize = 1_000_000;
/// Logical bytes of records that a map task sorts at a time (spec: `sort_budget_bytes`).
pub const SORT_BUDGET_BYTES: u64 = 128 << 20;
/// Smallest sort budget: below it every record is a run.
pub const SORT_BUDGET_MIN_BYTES: u64 = 64 << 10;
/// Largest sort budget.
pub const SORT_BUDGET_MAX_BYTES: u64 = 16 << 30;
/// Memory of an attempt that sorts without a combiner, in hundredths of the sort budget: its buffer, and what ties need.
pub const SORT_MEMORY_PERCENT: u64 = 125;
/// Memory of an attempt that combines, in hundredths of the sort budget: a table that has just doubled is a quarter full.
pub const TABLE_MEMORY_PERCENT: u64 = 500;
/// Memory of a merge in hundredths of the sort budget: a block of each of 64 runs, which are cut to fit.
pub const MERGE_MEMORY_PERCENT: u64 = 50;
/// Memory of an attempt beside that, in bytes: what is read, written and sent at a time.
pub const ATTEMPT_BYTES: u64 = 6 << 20;
/// Memory of a worker beside its attempts, and in `run` of the coordinator too, in bytes.
pub const WORKER_BYTES: u64 = 8 << 20;
/// Smallest block of a run: below it its head is much of it.
pub const BLOCK_MIN_BYTES: usize = 4 << 10;
/// Logical cost of one record beside its bytes, the same on every machine.
pub const RECORD_OVERHEAD_BYTES: u64 = 32;
/// Runs merged at a time; more are merged in passes. Part of the plan, since passes group combiner calls.
pub const FAN_IN: u32 = 64;
/// Places of the input that are read for the split points of a sort: planning stays in seconds on any disk.
pub const SAMPLES: u64 = 512;
/// Bytes read at each of them.
pub const SAMPLE_BYTES: u64 = 8 << 10;
/// First bytes of a csv file that are read for the names in its header, where a step names columns: a header is rarely longer,
/// and of one that is the names are not checked.
pub const HEADER_BYTES: u64 = 1 << 20;
/// Records taken from each of them: short ones must not fill the memory.
pub const SAMPLE_RECORDS: usize = 128;
/// A split point of a sort, in bytes; what is cut off only makes parts a little less equal.
pub const SPLIT_POINT_BYTES: usize = 128;
/// Input of one part of a sort, in bytes, where the spec does not say how many there are.
pub const SORT_PART_BYTES: u64 = 128 << 20;
/// Most parts of a sort where the spec does not say how many there are.
pub const SORT_PARTS: u64 = 1_000;
/// Lines that `top-k` finds, at most: each task holds so many in memory.
pub const TOP_LINES: u64 = 1_000_000;
/// Right lines of one key that `join` keeps in memory, in bytes (`--buffer`): a worker has a few tasks at a time.
pub const JOIN_BUFFER_BYTES: u64 = 64 << 20;
/// Uncompressed bytes of one block of a run; a larger record gets a block of its own.
pub const BLOCK_BYTES: usize = 256 << 10;
/// Default number of reduce tasks (spec: `partitions`).
pub const DEFAULT_PARTITIONS: u32 = 4;

/// A partition is called hot beyond this many times the records or bytes of the median one: hashing alone makes none so.
pub const HOT_FACTOR: u64 = 4;
/// And with this many records at least: below, nobody waits for it.
pub const HOT_RECORDS: u64 = 10_000;

/// No sign of progress for this long ends an attempt, in milliseconds (spec: `progress_timeout_ms`).
pub const PROGRESS_TIMEOUT_MS: u64 = 600_000;
/// Least `progress_timeout_ms`: progress is looked at every tenth of it.
pub const PROGRESS_TIMEOUT_MIN_MS: u64 = 100;
/// Highest `progress_timeout_ms`: a week.
pub const PROGRESS_TIMEOUT_MAX_MS: u64 = 7 * 24 * 3_600_000;
/// How long a submit waits for the plan, in milliseconds, so that simple mistakes are still a 4xx.
pub const SUBMIT_WAIT_MS: u64 = 2_000;
/// Longest `?wait=` of an API call, in milliseconds.
pub const WAIT_MAX_MS: u64 = 60_000;
/// Items of a list page, at most; 100 unless asked.
pub const PAGE_ITEMS: usize = 1_000;
/// How long a graceful stop waits for requests in flight, in milliseconds.
pub const DRAIN_DEADLINE_MS: u64 = 5_000;
/// How long a worker that drains waits for what it runs, for acknowledgements and for relays, in milliseconds.
pub const WORKER_DRAIN_MS: u64 = 600_000;

/// Commands waiting for the driver; API calls beyond get a 503 with Retry-After.
pub const DRIVER_QUEUE: usize = 65_536;
/// Rows of history that the journal keeps of jobs that succeeded or were cancelled; the jobs that ended first are compacted
/// to a row each beyond. A million rows are about 300 MB.
pub const HISTORY_ROWS: u64 = 1_000_000;
/// Entries appended in one transaction.
pub const ENTRIES_PER_COMMIT: usize = 4_096;
/// Free space under which relays are refused with a 507, in bytes: the journal must never find a full disk.
pub const STORE_RESERVE_BYTES: u64 = 512 << 20;
/// Free space of the disk of a worker's state under which it takes no more work, in bytes (`worker --disk-reserve`): what it
/// runs may still end.
pub const WORKER_RESERVE_BYTES: u64 = 256 << 20;
/// Connections to one coordinator: two for each of 10,000 workers do not fit the descriptors of most systems, one and the
/// calls of their executors do. More are closed at once.
pub const CONNECTIONS: usize = 16_384;
/// Headers of a request.
pub const HEADERS: usize = 64;
/// Head of a request, in bytes.
pub const HEAD_BYTES: usize = 64 << 10;
/// Requests of one address with a wrong token that are looked at in a minute; further ones are answered with a 429.
pub const AUTH_FAILURES_PER_MINUTE: u32 = 60;
/// Addresses whose wrong tokens are counted.
pub const AUTH_ADDRESSES: usize = 10_000;
/// Jobs that are not over; further submits get a 503 with Retry-After.
pub const LIVE_JOBS: usize = 10_000;
/// Bodies of submits that are in work together, in KiB: further submits get a 503.
pub const SUBMITS_KIB: usize = 256 << 10;
/// Relayed map outputs and parts kept for one job, in bytes (`--relay-quota`).
pub const RELAY_QUOTA_BYTES: u64 = 64 << 30;
/// One uploaded file, in bytes.
pub const UPLOAD_BYTES: u64 = 1 << 40;
/// Time that a client may take to send its request's head, in milliseconds: against slow-loris.
pub const HEADER_READ_MS: u64 = 10_000;
/// Map outputs named in one fetch request.
pub const OUTPUTS_PER_FETCH: usize = 1_024;
/// Answers to fetches that one attempt receives at the same time: each has a connection and its buffers.
pub const ANSWERS_AT_ONCE: usize = 64;
/// Bytes of sections that one such answer may announce: more than any disk, and sums of them are numbers.
pub const SECTIONS_BYTES: u64 = 1 << 50;
/// Connections to a worker's own listener: of each of many workers a few executors.
pub const SHUFFLE_CONNECTIONS: usize = 1_024;
/// How long a worker that serves map outputs may take to answer before they are fetched by way of the coordinator, in
/// milliseconds: long enough for a busy one, short beside a relay.
pub const DIRECT_ANSWER_MS: u64 = 5_000;
/// Longest address that a worker may tell, in bytes.
pub const SHUFFLE_URL_BYTES: usize = 300;
/// Time that a client may take to send a JSON body, in milliseconds; uploads have no such limit.
pub const BODY_READ_MS: u64 = 60_000;
/// An `Idempotency-Key` header, in bytes.
pub const IDEMPOTENCY_KEY_BYTES: usize = 256;
/// Room that the journal keeps for what is already begun, in bytes; given up when its disk is full.
pub const JOURNAL_BALLAST_BYTES: u64 = 16 << 20;
/// Jobs whose inputs are listed at a time: listing is slow, and two users' mistakes should not hold up a third.
pub const PLANNERS: usize = 8;
/// Times that a job is planned while the coordinator's own disk fails: with the waits of a commit, about a minute.
pub const PLAN_TRIES: u32 = 8;
/// First wait before a commit that failed is tried again, in milliseconds; doubles up to [`RETRY_BACKOFF_MAX_MS`].
pub const COMMIT_BACKOFF_MS: u64 = 500;
/// Blobs of the plans that the coordinator keeps parsed, in bytes: slices of the same few plans are asked for all day.
pub const PLAN_CACHE_BYTES: usize = 64 << 20;
/// Text rendered at a time for a reader of an output, in bytes.
pub const RENDER_CHUNK_BYTES: usize = 256 << 10;

/// Files and archives of one program: each is a link in every attempt's working directory.
pub const BUNDLE_FILES: usize = 1_000;
/// Name of such a file, in bytes: what file systems allow.
pub const FILE_NAME_BYTES: usize = 255;
/// One bundle as uploaded, in bytes.
pub const BUNDLE_BYTES: u64 = 4 << 30;
/// How long a bundle that no job names is kept after its last use, in milliseconds: a day of submitting the same program.
pub const BUNDLE_RETENTION_MS: u64 = 24 * 3_600_000;
/// How often the coordinator looks for bundles and jobs whose time is over, in milliseconds.
pub const SWEEP_EVERY_MS: u64 = 600_000;
/// Bundles that workers keep in one state directory, unpacked ones included, in bytes; least recently used go first.
pub const BUNDLE_CACHE_BYTES: u64 = 20 << 30;
/// A bundle up to this size is copied for each attempt; a larger one is a link into the cache, in bytes.
pub const BUNDLE_COPY_BYTES: u64 = 16 << 20;
/// What an archive may unpack to, in bytes.
pub const UNPACKED_BYTES: u64 = 16 << 30;
/// Entries of an archive: a Python environment has some ten thousand.
pub const UNPACKED_ENTRIES: u64 = 200_000;
/// Times its own size that an archive may unpack to beyond [`UNPACKED_SLACK_BYTES`]: text does not reach it, bombs do.
pub const UNPACKED_RATIO: u64 = 200;
/// What any archive may unpack to, in bytes.
pub const UNPACKED_SLACK_BYTES: u64 = 64 << 20;
/// A path inside an archive, in bytes.
pub const UNPACKED_PATH_BYTES: usize = 4 << 10;
/// A separator of fields, in bytes.
pub const SEPARATOR_BYTES: usize = 64;
/// Fields of a key.
pub const KEY_FIELDS: u32 = 1_000;
/// Least that a memory, directory or output limit of a command may be, in bytes: below it no interpreter starts.
pub const COMMAND_BYTES_MIN: u64 = 64 << 10;
/// What a command may write into its working directory, in bytes (spec: `directory_bytes`).
pub const COMMAND_DIRECTORY_BYTES: u64 = 8 << 30;
/// What a command may write to stdout, in bytes (spec: `output_bytes`).
pub const COMMAND_OUTPUT_BYTES: u64 = 1 << 40;
/// Linear memory of a WebAssembly instance, in bytes (spec: `memory_bytes`).
pub const WASM_MEMORY_BYTES: u64 = 256 << 20;
/// The least it may be: one page.
pub const WASM_MEMORY_MIN_BYTES: u64 = 64 << 10;
/// The most it may be: 32-bit modules address no more.
pub const WASM_MEMORY_MAX_BYTES: u64 = 4 << 30;
/// A WebAssembly module, in bytes: compiling one takes a second for each few megabytes.
pub const WASM_MODULE_BYTES: u64 = 64 << 20;
/// Compiled modules that an executor keeps: mapper, combiner and reducer of two jobs.
pub const WASM_MODULES_CACHED: usize = 6;
/// Tables of a WebAssembly instance.
pub const WASM_TABLES: usize = 16;
/// Elements of a table of a WebAssembly instance: functions that are called indirectly.
pub const WASM_TABLE_ELEMENTS: usize = 1_000_000;
/// What an attempt of a WebAssembly program may emit, in bytes: one without end must not fill the disk.
pub const WASM_OUTPUT_BYTES: u64 = 256 << 30;
/// Processes and threads of a command and all that it starts: a fork bomb ends here, before the machine feels it.
pub const COMMAND_PROCESSES: u64 = 256;
/// Kept of what an attempt writes to stderr, from its beginning and again from its end, in bytes.
pub const LOG_HALF_BYTES: usize = 64 << 10;
/// A log as it travels, in bytes: both halves and what is said of the attempt.
pub const LOG_BYTES: usize = 2 * LOG_HALF_BYTES + (16 << 10);
/// Logs of attempts kept for one job, in bytes; later ones are not kept.
pub const JOB_LOGS_BYTES: u64 = 256 << 20;
/// Logs of attempts kept for one job: a directory of them is listed for each reader.
pub const JOB_LOGS: u64 = 20_000;
/// How long a worker tries to hand over a log before it reports without it, in milliseconds.
pub const LOG_PATIENCE_MS: u64 = 10_000;
/// What user code says that it is doing, in bytes: a line of a table. What is longer is cut.
pub const STATUS_BYTES: usize = 512;
/// Records that a job may skip (spec: `on_bad_record`).
pub const SKIPS_MAX: u64 = 1_000_000;
/// Least `attempts` of a job that skips: the first failure names a stretch of records, two more the record itself.
pub const ATTEMPTS_TO_SKIP: u32 = 3;
/// Skipped records that a job's view names; the manifest and the dead-letter file have all of them.
pub const SKIPS_SHOWN: usize = 100;
/// Skipped records named in one report.
pub const SKIPS_PER_REPORT: usize = 1_000;
/// Labels of a worker, or required by a job.
pub const LABELS: usize = 64;
/// A label's name or value, in bytes.
pub const LABEL_BYTES: usize = 128;
