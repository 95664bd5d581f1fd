"""Operations of this family."""
