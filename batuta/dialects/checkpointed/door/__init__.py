"""Who comes in, and what is brought: tokens and forms."""
