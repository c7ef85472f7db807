"""What the asyncio-side tests share: loop factories, peers, protocols, subprocess snippets, leak counts."""
