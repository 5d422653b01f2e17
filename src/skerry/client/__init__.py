"""The SDK, shaped like httpx: `Client` and `AsyncClient`, with the node's own routing inside."""
