//! The account: making it, logging in and out.

use chat_client::model::User;

use super::context::{Context, blocking};
use crate::args::{Login, Password, Register};
use crate::credentials;
use crate::exit::{Failure, Result};
use crate::output::clean;
use crate::settings::{Secret, device_name};

pub(super) async fn register(context: &Context<'_>, args: Register) -> Result<()> {
    let client = context.client_to_log_in()?;
    let password = password(context, args.password, true).await?;
    let user = client
        .register(&args.email, &args.username, &password.0)
        .await?;
    let text = format!("registered {} as user {}", user.username, user.id);
    if args.login {
        let device = device_name();
        client
            .login(&args.email, &password.0, device.as_deref())
            .await?;
        context.output.note(&format!("{text}, and logged in"));
        warn_of_token(context);
    } else {
        let next = format!("log in with `chat login --email {}`", args.email);
        context.output.note(&format!("{text}: {next}"));
    }
    context.output.result(&user, |_| String::new())
}

pub(super) async fn login(context: &Context<'_>, args: Login) -> Result<()> {
    let client = context.client_to_log_in()?;
    let email = args
        .email
        .or_else(|| context.settings.email.clone())
        .ok_or_else(|| {
            Failure::usage("whose login? give --email, or `email` in the configuration")
        })?;
    let password = password(context, args.password, false).await?;
    let device = args.device.or_else(device_name);
    let user = client.login(&email, &password.0, device.as_deref()).await?;
    context.output.note(&format!(
        "logged in to {} as {}",
        context.settings.server, user.username
    ));
    warn_of_token(context);
    context.output.result(&user, |_| String::new())
}

pub(super) async fn logout(context: &Context<'_>) -> Result<()> {
    context.client()?.logout().await?;
    context.output.note("logged out");
    Ok(())
}

pub(super) async fn whoami(context: &Context<'_>) -> Result<()> {
    let user = context.client()?.me().await?;
    context.output.result(&user, |_| whoami_text(&user))
}

fn whoami_text(user: &User) -> String {
    let email = user.email.as_deref().unwrap_or_default();
    format!("{}\t{}\t{}\n", user.id, clean(&user.username), clean(email))
}

async fn password(context: &Context<'_>, from: Password, new: bool) -> Result<Secret> {
    let command = context.settings.password_command.clone();
    blocking(move || credentials::password(from.password_file.as_deref(), command.as_ref(), new))
        .await
}

/// A login doesn't count while a token is given, which is easily forgotten.
fn warn_of_token(context: &Context<'_>) {
    if context.settings.token.is_some() {
        context
            .output
            .note("CHAT_TOKEN is set: it is used instead of this login until it is unset");
    }
}
