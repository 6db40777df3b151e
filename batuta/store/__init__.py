"""Where it is kept: small protocols, one implementation per database."""
