"""What front ends share: cells and widths of tables, words, actions, forms."""
