"""Energy and carbon: when and where work runs, sun, battery, cooling, and what it all emits."""
