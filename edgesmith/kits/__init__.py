"""What an app takes home: projects with the model in them (app.py), and a bundle that proves what it is (pack.py)."""
