//! What a shell and a system's manual want to know of the command.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::Result;
use crate::output::Output;

pub(super) fn completions(shell: Shell, output: &Output) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "chat", &mut script);
    output.print_bytes(&script)
}

/// One page: the command, then every subcommand, as manuals of one file are written.
pub(super) fn man(output: &Output) -> Result<()> {
    let mut command = Cli::command();
    // Names of subcommands as they are typed: `chat room list`.
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in leaves(&command) {
        let man = clap_mangen::Man::new(sub.clone());
        let name = sub.get_bin_name().unwrap_or_else(|| sub.get_name());
        page.extend(format!(".SH \"{}\"\n", name.to_uppercase()).into_bytes());
        let mut part = Vec::new();
        man.render_synopsis_section(&mut part)?;
        man.render_description_section(&mut part)?;
        man.render_options_section(&mut part)?;
        let part = String::from_utf8_lossy(&part).replace(".SH ", ".SS ");
        page.extend(part.into_bytes());
    }
    output.print_bytes(&page)
}

/// The commands below this one that do something by themselves.
fn leaves(command: &clap::Command) -> Vec<&clap::Command> {
    command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
        .flat_map(|sub| {
            let below = leaves(sub);
            if below.is_empty() { vec![sub] } else { below }
        })
        .collect()
}
