"""What several tests need: pictures, a small network, commands, processes of their own."""
