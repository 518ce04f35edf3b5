"""How planned layers are spelled: Q/DQ around a float op, codes behind a DQ alone, or a product of codes."""
