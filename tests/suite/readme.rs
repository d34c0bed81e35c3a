//! Every command of the README does what it says.

use super::harness::{root, run};

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("README.md is readable")
}

/// The commands of the README's `console` blocks (lines that start with `$ `), each with the output shown below it.
fn commands() -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in readme().lines() {
        if let Some(fence) = line.strip_prefix("```") {
            inside = fence == "console";
        } else if inside {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command.to_owned(), String::new())),
                (None, Some((_, output))) => *output += &format!("{line}\n"),
                (None, None) => {}
            }
        }
    }
    commands
}

/// The words of a command as a shell splits them; single quotes are all the README uses.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in command.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn every_modspace_command_prints_what_the_readme_shows() {
    let mut tried = 0;
    for (command, output) in commands() {
        let words = words(&command);
        let args = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["cargo", "run", "--ignore-rust-version", "--", ref args @ ..] | ["modspace", ref args @ ..] => {
                args.to_vec()
            }
            _ => continue,
        };
        let run = run(&args).succeeded();
        assert_eq!(run.stdout, output, "$ {command}");
        tried += 1;
    }
    assert!(tried >= 4, "the README shows only {tried} commands");
}

#[test]
fn the_set_up_is_two_commands() {
    let text = readme();
    let set_up =
        text.split("## Set-up").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section on set-up");
    let commands: Vec<_> = set_up.lines().filter(|line| line.starts_with("$ ")).collect();
    assert_eq!(
        commands,
        [
            "$ cargo run --ignore-rust-version -- run spaces/examples/side_by_side/main.py",
            "$ cargo test --ignore-rust-version",
        ]
    );
}
