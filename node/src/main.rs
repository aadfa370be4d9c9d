//! The `kluis` binary: hands the command line to [`kluis_node::cli`].

fn main() -> std::process::ExitCode {
    kluis_node::cli::main()
}
