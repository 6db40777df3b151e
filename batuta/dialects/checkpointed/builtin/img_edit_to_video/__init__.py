"""A picture is changed as a prompt says, and becomes a film."""
