"""The browser application: widgets, routes and processes over `core`. It holds no tensor arithmetic."""
