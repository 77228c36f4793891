"""From scripts to training shards. Each module is one stage; `runner` runs them, `commands` is the command line."""
