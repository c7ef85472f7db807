"""What the asyncio-side tests share: loops, peers, protocols, snippets, leak counts."""
