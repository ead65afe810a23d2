"""How fast stage II trains, beside the Trainer with peft: runs, the peer, the table."""
