//! What can be typed: the commands and their flags. Nothing here does anything.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use edge::Field;
use url::Url;

/// Clicks become live dashboards and an open lake: one binary, one file, nothing lost, nothing counted twice.
#[derive(Debug, Parser)]
#[command(name = "riverrun", version, about, max_term_width = 100, propagate_version = true)]
pub(crate) struct Cli {
    /// Say more on stderr: -v what rooms do, -vv everything
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,

    /// How log lines are written to stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    pub(crate) log_format: LogFormat,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line, for collectors of logs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the demo: a shop, simulated shoppers, the whole pipeline and its console
    Demo(Demo),
    /// Run what FILE declares, until Ctrl-C
    Serve(Serve),
    /// Read FILE and explain every mistake in it
    Check {
        /// The file, usually riverrun.toml
        file: PathBuf,
    },
    /// Send the lines of files to a stream of a running server
    Import(Import),
    /// Show the records of a stream as they arrive
    Tail(Tail),
    /// Ask a running server a question in SQL
    Sql(Sql),
    /// Plan the shards of a stream, look at those of a running server, change them
    Stream {
        #[command(subcommand)]
        stream: Stream,
    },
    /// Make load, probe the disk, make data: the measuring side of `make bench`
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Keep data here and go on with it at the next start; without it, data is temporary and removed at the end
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// No simulated shoppers: only your own clicks count
    #[arg(long)]
    pub(crate) no_shoppers: bool,

    /// Clicks per second of the simulated shoppers, over the day
    #[arg(long, value_name = "N", default_value_t = 20.0, value_parser = rate)]
    pub(crate) rate: f64,

    /// Where the shop is served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) site: SocketAddr,

    /// Where the console is served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    pub(crate) console: SocketAddr,

    /// Where the Kinesis and Firehose APIs are served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4567")]
    pub(crate) kinesis: SocketAddr,

    #[command(flatten)]
    pub(crate) plant: Plant,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The file, usually riverrun.toml
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) plant: Plant,
}

/// Mistakes put in on purpose, so that the kill test can show that it catches them.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Plant {
    #[arg(long = "plant", value_name = "BUG", value_enum, hide = true)]
    pub(crate) bugs: Vec<Bug>,
}

/// A mistake that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bug {
    /// The stream acknowledges records before they are on disk.
    AckBeforeSync,
    /// The lake's commits do not say up to which offset they go.
    ForgetOffsets,
    /// The Firehose door does not look in the log for what was delivered before the start.
    ForgetDeliveries,
}

#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The running server
    #[arg(long = "server", value_name = "URL", default_value = "http://127.0.0.1:7070", env = "RIVERRUN_SERVER")]
    pub(crate) url: Url,

    /// The server's token, if it asks for one
    #[arg(long, value_name = "TOKEN", env = "RIVERRUN_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,

    /// Certificates (PEM) that the server's may be signed with, trusted beside those of the system
    #[arg(long, value_name = "FILE", env = "RIVERRUN_CA")]
    pub(crate) ca: Option<PathBuf>,
}

/// How the lines of an imported file are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFormat {
    /// Access log lines in Apache's combined format
    Combined,
    /// CDN real-time log lines: tab-separated
    Cdn,
    /// One JSON object per line
    Ndjson,
    /// Comma-separated values with a header line; each row becomes a JSON object
    Csv,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Files to read, plain or .gz; - for standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// The stream to send to
    #[arg(long, value_name = "S")]
    pub(crate) stream: String,

    /// How lines are read
    #[arg(long, value_enum)]
    pub(crate) format: ImportFormat,

    /// For --format cdn: the published numbers or names of the fields on a line, separated by commas
    #[arg(long, value_name = "FIELDS", value_parser = fields)]
    pub(crate) fields: Option<String>,

    /// Requests on their way at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) in_flight: u8,

    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// The stream to look at
    pub(crate) stream: String,

    /// Only records that contain this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,

    /// Begin with up to so many records of each shard from before
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) last: u32,

    /// Print each record as one JSON object with its shard, offset and arrival time
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) server: Server,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SqlFormat {
    /// Aligned columns
    Table,
    /// Comma-separated values with a header line
    Csv,
    /// {"columns": […], "rows": […]}
    Json,
    /// One JSON object per row
    Ndjson,
}

#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// The query; - reads it from standard input
    pub(crate) sql: String,

    /// How the result is printed
    #[arg(long, value_enum, default_value_t = SqlFormat::Table)]
    pub(crate) format: SqlFormat,

    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Stream {
    /// How many shards a load needs, by each limit of the published Kinesis API, and which limit decides
    Plan(StreamPlan),
    /// The streams of a running server
    List {
        /// Print what the server says, as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// One stream: its shards, their hash ranges and heat, who reads it and how far behind
    Describe {
        /// The stream
        stream: String,
        /// Print what the server says, as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Split a shard in two
    Split {
        /// The stream
        stream: String,
        /// The number of the shard
        shard: u32,
        /// The first hash of the upper part; without it, the middle of the shard
        #[arg(long, value_name = "HASH")]
        at: Option<u128>,
        #[command(flatten)]
        server: Server,
    },
    /// Merge two shards whose hash ranges adjoin
    Merge {
        /// The stream
        stream: String,
        /// The number of one shard
        shard: u32,
        /// The number of the other
        with: u32,
        #[command(flatten)]
        server: Server,
    },
    /// Split and merge until the stream has so many shards of equal range
    Reshape {
        /// The stream
        stream: String,
        /// Open shards to have
        #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(stream::plan::Plan::shards_max())))]
        shards: u32,
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Debug, Args)]
pub(crate) struct StreamPlan {
    /// Average size of a record with its key, as 500, 2KiB or 1MiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) record_size: u64,
    /// Records per second at the busiest time
    #[arg(long, value_name = "N")]
    pub(crate) records_per_second: u64,
    /// Consumers that poll and share what a shard gives
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) consumers: u32,
    /// Consumers with enhanced fan-out, each with a way out of its own
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) fan_out_consumers: u32,
    /// Print the plan as one JSON object, as GET /api/v1/plan does
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Send 20-column click events, prebuilt in memory, to a stream through the collector
    Load(BenchLoad),
    /// Click N times a second on the site and time how long each click takes to be visible in SQL
    Latency(BenchLatency),
    /// Publish to, read from and time a log in this process, and the raw disk in the same pattern beside it
    Stream(BenchStream),
    /// Time 4 KiB and 1 MiB writes with fdatasync: the raw disk beside every other figure
    Fdatasync {
        /// A folder on the disk to probe
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        /// Seconds for each of the two sizes
        #[arg(long, value_name = "S", default_value_t = 3)]
        seconds: u32,
    },
    /// Make a data folder with N rows in the lake, and the file that serves it
    Generate {
        /// The folder to make; it gets a riverrun.toml
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Rows of the table `events`
        #[arg(long, value_name = "N", default_value_t = 10_000_000)]
        rows: u64,
    },
    /// Make an empty data folder with the file that serves the events of `load`
    File {
        /// The folder to make; it gets a riverrun.toml
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BenchLoad {
    /// The stream to send to
    #[arg(long, value_name = "S", default_value = "events")]
    pub(crate) stream: String,
    /// Events per second from an open loop; without it, as fast as they are taken
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<f64>,
    /// Seconds to run
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub(crate) seconds: u32,
    /// Events of one request
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) batch: u32,
    /// Requests on their way at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) connections: u16,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct BenchLatency {
    /// The site whose request log feeds the table
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) site: Url,
    /// The table that shows the clicks; it has the columns event_time and visitor
    #[arg(long, value_name = "T", default_value = "clicks")]
    pub(crate) table: String,
    /// Clicks per second
    #[arg(long, value_name = "N", default_value_t = 1000.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Seconds to run
    #[arg(long, value_name = "S", default_value_t = 30)]
    pub(crate) seconds: u32,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct BenchStream {
    /// A folder on the disk to measure; what is written there is removed at the end
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Shards of the stream
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) shards: u16,
    /// Bytes of a record
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u16).range(16..))]
    pub(crate) size: u16,
    /// Records of one append
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub(crate) batch: u16,
    /// Appends on their way at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) writers: u16,
    /// Rounds of publishing and of the raw disk, by turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) rounds: u8,
    /// Seconds of each
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub(crate) seconds: u16,
    /// Records per second when latency is measured
    #[arg(long, value_name = "N", default_value_t = 1000.0, value_parser = rate)]
    pub(crate) rate: f64,
}

/// A size as the file writes it.
fn size(text: &str) -> Result<u64, String> {
    base::settings::parse_size(text).ok_or_else(|| "expected a size such as 500, 2KiB or 1MiB".to_owned())
}

/// Fields of a CDN log line, by number or name, as the collector wants them: by number.
fn fields(list: &str) -> Result<String, String> {
    let fields: Vec<Field> = list.split(',').map(|name| field(name.trim())).collect::<Result<_, _>>()?;
    match fields.windows(2).find(|pair| pair[0] >= pair[1]) {
        None => Ok(Field::header(&fields)),
        Some(pair) => {
            let place = |field: Field| format!("{field} (number {})", field.number());
            let (before, after) = (place(pair[0]), place(pair[1]));
            Err(format!("{before} stands before {after}, but a line has its fields in the order of their numbers"))
        }
    }
}

fn field(name: &str) -> Result<Field, String> {
    let by_number = name.parse().ok().and_then(Field::by_number);
    by_number.or_else(|| Field::by_name(name)).ok_or_else(|| {
        let near = base::settings::nearest(name, &Field::NAMES);
        let remedy =
            near.map_or("docs/edge.md lists all numbers and names".to_owned(), |near| format!("did you mean {near}?"));
        format!("{name:?} is no field: {remedy}")
    })
}

/// A number of events per second that one process can make.
fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.01..=100_000.0).contains(&rate) { Ok(rate) } else { Err("expected a rate from 0.01 to 100000".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_table_of_commands_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_commands_of_the_design_are_understood() {
        for line in [
            "riverrun demo",
            "riverrun demo --data d --no-shoppers --rate 5 --site 127.0.0.1:1 --console 127.0.0.1:2 --kinesis 127.0.0.1:3",
            "riverrun serve riverrun.toml",
            "riverrun check riverrun.toml",
            "riverrun import a.log.gz - --stream access --format combined --server http://localhost:7070",
            "riverrun import a.log --stream access --format cdn --fields timestamp,c-ip,7",
            "riverrun sql select --server https://localhost:7070 --ca ca.pem",
            "riverrun tail clicks --filter buy",
            "riverrun sql select --format csv",
            "riverrun stream plan --record-size 2KiB --records-per-second 5000 --consumers 3 --fan-out-consumers 1",
            "riverrun stream list --json",
            "riverrun stream describe clicks",
            "riverrun stream split clicks 0 --at 170141183460469231731687303715884105728",
            "riverrun stream merge clicks 1 2 --server http://localhost:7070",
            "riverrun stream reshape clicks 8",
            "riverrun bench load --rate 1000",
            "riverrun bench latency",
            "riverrun bench stream --shards 4 --seconds 1",
            "riverrun bench fdatasync",
            "riverrun bench generate --data d --rows 10",
            "riverrun bench file --data d",
            "riverrun -v --log-format json serve f --plant ack-before-sync",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for line in [
            "riverrun",
            "riverrun fly",
            "riverrun import --stream s --format combined",
            "riverrun import f --stream s --format pdf",
            "riverrun demo --rate 0",
            "riverrun demo --site here",
            "riverrun sql",
            "riverrun stream",
            "riverrun stream plan --record-size much --records-per-second 1",
            "riverrun stream split clicks",
            "riverrun stream reshape clicks 0",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn fields_are_named_by_number_or_by_name_in_the_order_on_the_line() {
        assert_eq!(fields("timestamp, 2,cs-method"), Ok("1,2,7".to_owned()));
        for (list, expected) in [
            ("", "no field"),
            ("0", "no field"),
            ("time-stamp", "did you mean timestamp?"),
            ("cs-method,c-ip", "cs-method (number 7) stands before c-ip (number 2)"),
            ("1,timestamp", "stands before timestamp"),
        ] {
            let told = fields(list).expect_err(list);
            assert!(told.contains(expected), "{list}: {told}");
        }
    }

    #[test]
    fn planted_bugs_are_not_advertised() {
        let mut serve = Cli::command().find_subcommand("serve").expect("serve is a command").clone();
        assert!(!serve.render_long_help().to_string().contains("plant"));
    }
}
