use clap::Args;

use crate::{
    cli::{
        Operator,
        error::Error,
        output::{Output, or_never, table},
    },
    server::commands::view::KeyView,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    output: Output,
}

impl List {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let now = operator.act.now;
        let (readable, damaged) = operator.commands.keys().list().await?;
        let views: Vec<KeyView> = readable.into_iter().map(|key| KeyView::new(key, now)).collect();
        self.output.print(&views, |views| {
            let row = |view: &KeyView| {
                [
                    view.kid.clone(),
                    view.alg.clone(),
                    view.state.to_string(),
                    view.activates_at.clone(),
                    or_never(view.retires_at.clone()),
                    or_never(view.expires_at.clone()),
                ]
            };
            table(["KEY", "ALG", "STATE", "ACTIVATES", "RETIRES", "EXPIRES"], views.iter().map(row))
        })?;
        // The readable keys were printed; the first damaged one is reported.
        damaged.map_or(Ok(()), |error| Err(error.into()))
    }
}
