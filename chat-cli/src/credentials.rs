//! Where logins are kept, and where passwords come from.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::exit::{Exit, Failure, Result};
use crate::settings::{CommandLine, Secret, Settings};

/// The longest password is 256 characters; a file much longer than that is the wrong one.
const PASSWORD_LIMIT_BYTES: u64 = 8 * 1024;

/// The file of the login: one for each profile and server.
pub(crate) fn login_file(settings: &Settings) -> Result<PathBuf> {
    let folder = settings.state_dir.as_ref().ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            "there is no folder to keep a login in: neither XDG_STATE_HOME nor HOME is set",
        )
    })?;
    let name = format!("{}.json", file_name(&settings.server));
    Ok(folder.join(&settings.profile).join(name))
}

/// A server's address as a file's name: what a file system could take amiss is written as `%XX`.
fn file_name(server: &str) -> String {
    // Case means nothing in the scheme and the host, and may mean something in the path.
    let start = server.find("://").map_or(0, |at| at + 3);
    let host_end = server[start..]
        .find('/')
        .map_or(server.len(), |at| start + at);
    let (host, path) = server.split_at(host_end);
    let mut name = String::new();
    for byte in host.to_ascii_lowercase().bytes().chain(path.bytes()) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                name.push(char::from(byte));
            }
            other => {
                let _ = write!(name, "%{other:02X}");
            }
        }
    }
    name
}

/// The password: from the file that was named, else from the configured command, else from whoever sits at the terminal,
/// twice if it is `new`. Blocks.
pub(crate) fn password(
    file: Option<&Path>,
    command: Option<&CommandLine>,
    new: bool,
) -> Result<Secret> {
    let password = match (file, command) {
        (Some(path), _) if path == Path::new("-") => {
            first_line(io::stdin().lock()).map_err(|e| unreadable("standard input", &e))?
        }
        (Some(path), _) => std::fs::File::open(path)
            .and_then(first_line)
            .map_err(|e| unreadable(&path.display().to_string(), &e))?,
        (None, Some(command)) => from_command(command)?,
        (None, None) => return ask(new),
    };
    if password.is_empty() {
        return Err(Failure::usage("the password is empty"));
    }
    Ok(Secret(password))
}

fn unreadable(place: &str, error: &io::Error) -> Failure {
    Failure::usage(format!("no password can be read from {place}: {error}"))
}

fn first_line(from: impl Read) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(from.take(PASSWORD_LIMIT_BYTES)).read_line(&mut line)?;
    if line.ends_with('\n') {
        line.pop();
        if line.ends_with('\r') {
            line.pop();
        }
    }
    Ok(line)
}

fn from_command(command: &CommandLine) -> Result<String> {
    let failed = |what: String| Failure::new(Exit::Failed, format!("password_command {what}"));
    let mut process = match command {
        CommandLine::Shell(line) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(line);
            shell
        }
        CommandLine::Words(words) => {
            let (program, arguments) = words
                .split_first()
                .ok_or_else(|| Failure::usage("password_command names no program"))?;
            let mut process = Command::new(program);
            process.args(arguments);
            process
        }
    };
    // It may ask for something itself, so it has the terminal.
    let output = process
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| failed(format!("can't be run: {e}")))?;
    if !output.status.success() {
        return Err(failed(format!("failed: {}", output.status)));
    }
    first_line(output.stdout.as_slice()).map_err(|e| failed(format!("printed no text: {e}")))
}

fn ask(new: bool) -> Result<Secret> {
    if !io::stdin().is_terminal() {
        return Err(
            Failure::usage("there is no terminal to ask for the password")
                .with_hint("give it with `--password-file PATH`; `-` is standard input"),
        );
    }
    let password = prompt("Password: ")?;
    if new && prompt("The same again: ")? != password {
        return Err(Failure::usage("the two passwords differ"));
    }
    Ok(password)
}

fn prompt(text: &str) -> Result<Secret> {
    match rpassword::prompt_password(text) {
        Ok(password) if password.is_empty() => Err(Failure::usage("the password is empty")),
        Ok(password) => Ok(Secret(password)),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(Failure::interrupted()),
        Err(e) => Err(unreadable("the terminal", &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_servers_never_share_a_file() {
        assert_eq!(
            file_name("http://127.0.0.1:8080"),
            "http%3A%2F%2F127.0.0.1%3A8080"
        );
        assert_eq!(file_name("HTTP://A"), file_name("http://a"));
        assert_ne!(file_name("http://a/b"), file_name("http://a_b"));
        assert_ne!(file_name("http://a/b"), file_name("http://a/B"));
    }

    #[test]
    fn a_password_is_the_first_line_as_it_stands() {
        for (text, password) in [
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            ("secret", "secret"),
            (" se cret \nmore\n", " se cret "),
            ("", ""),
        ] {
            assert_eq!(first_line(text.as_bytes()).expect("read"), password);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_command_is_a_line_for_the_shell_or_words() {
        let line = CommandLine::Shell("printf 'a b\\nc'".into());
        assert_eq!(from_command(&line).expect("run"), "a b");
        let words = ["echo", "a  b"].map(str::to_owned).to_vec();
        assert_eq!(
            from_command(&CommandLine::Words(words)).expect("run"),
            "a  b"
        );
        let failing = CommandLine::Shell("exit 3".into());
        assert_eq!(
            from_command(&failing).expect_err("failed").exit,
            Exit::Failed
        );
    }
}
